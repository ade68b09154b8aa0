"""What the runs of one experiment give: a report, what is missing, notes on the runs.

An experiment is a benchmark's (Table 2), the recommendation study (Table 3) or a study
that `fedmeta.studies` declares. Of each the runs that belong together are chosen, read
into `Results` with the seed as one more factor, and handed to the report.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.reporting import source_words
from fedmeta.reporting.measures import Value
from fedmeta.reporting.report import Data, Report
from fedmeta.reporting.results import Results, Run, tidy
from fedmeta.reporting.shown import Shown
from fedmeta.reporting.wording import label_of, percent
from fedmeta.reproduction.claims import gains
from fedmeta.reproduction.commands import (
    Given,
    command_line,
    commands,
    given_parameters,
    missing_cells,
    seed_words,
    wanted_seeds,
)
from fedmeta.reproduction.notes import counted, notes_on
from fedmeta.reproduction.runs import Recorded
from fedmeta.reproduction.settings import CELL, OWN, Chosen, choose
from fedmeta.reproduction.table2 import accuracies, table2_report
from fedmeta.reproduction.table3 import CELLS, table3_report
from fedmeta.studies import STUDIES
from fedmeta.studies import Study as Declared
from fedmeta.studies.study import table_of

log = logging.getLogger(__name__)

NOTHING = Given({}, {})


class Study(NamedTuple):
    """An experiment's results.

    Attributes:
        name: The experiment's name in MLflow.
        report: Its tables, figures, sections and claims.
        data: What its data, settings and runs are.
        shown: Tables for people, by name.
        missing: What a line fills, and the line to type.
        written: Parameters that what is missing needs in conf/local.
        gains: FedMeta's over FedAvg, in points.
    """

    name: str
    report: Report
    data: Data
    shown: dict[str, Shown]
    missing: list[tuple[str, str]]
    written: dict[str, str]
    gains: list[Value]


class Runs(NamedTuple):
    """Chosen runs with what they left.

    Attributes:
        chosen: By the home of their results; at least one.
        histories: By run id; may lack some.
        scores: By run id; may lack some.
        bare: Algorithms of the runs that were left out since their files are missing.
    """

    chosen: dict[str, Chosen]
    histories: dict[str, pd.DataFrame]
    scores: dict[str, pd.DataFrame]
    bare: list[str]

    @property
    def table(self) -> pd.DataFrame:
        """A row a run, in the order of the algorithms' table."""
        table = pd.concat([c.runs for c in self.chosen.values()], ignore_index=True)
        ranks = {name: place for place, name in enumerate(ALGORITHMS)}
        rank = table["algorithm"].map(ranks).fillna(len(ranks))
        return table.loc[rank.sort_values(kind="stable").index]

    @property
    def newest(self) -> pd.Series:
        """The run that ended last."""
        return self.table.loc[self.table["ended"].idxmax()]

    def results(self, source: str, told: Mapping[Any, tuple] | None = None) -> Results:
        """The tidy tables.

        Args:
            source: What the data are.
            told: By home and algorithm, the cell's name and its factors; what is not
                among them is left out. None: the algorithm is all.
        """
        cells = []
        for run in self.table.itertuples():
            key = run.benchmark, run.algorithm
            if told is not None and key not in told:
                continue  # of an earlier version of the study
            cell, factors = told[key] if told else (run.algorithm, {})
            seed = None if pd.isna(run.seed) else int(run.seed)
            own = {"support_fraction": run.support_fraction, "seed": seed, **factors}
            tables = self.scores.get(run.run_id), self.histories.get(run.run_id)
            cells.append((cell, Run(own, *tables)))
        return tidy(cells, source)


def read(recorded: Recorded, chosen: Mapping[str, Chosen]) -> Runs:
    """Read histories and scores; runs that have lost their files are left out."""
    runs = pd.concat([c.runs for c in chosen.values()], ignore_index=True)
    histories, scores = (recorded.tables(runs, k) for k in ("history", "scores"))
    there = set(histories) | set(scores)
    kept = {
        home: c._replace(runs=c.runs[c.runs["run_id"].isin(there)])
        for home, c in chosen.items()
    }
    left_out = runs[~runs["run_id"].isin(there)]
    bare = left_out["algorithm"].tolist()
    for experiment, rows in left_out.groupby("experiment"):
        log.warning(
            "%s: left out %s of %s, whose history and scores MLflow has lost; kedro"
            " track logs again what is under data/",
            experiment,
            counted(len(rows)),
            ", ".join(dict.fromkeys(map(label_of, rows["algorithm"]))),
        )
    return Runs(kept, histories, scores, bare)


def table2_study(name: str, runs: Runs, configured: Mapping[str, Any]) -> Study:
    """Table 2 and Figures 2 to 5 of one experiment.

    Args:
        name: The experiment's.
        runs: Of one home.
        configured: The benchmark's parameters as the files have them; may be empty.
    """
    table, newest = runs.table, runs.newest
    benchmark = BENCHMARKS[newest["benchmark"]]
    rows = {label for row in benchmark.table2.values() for label in row}
    expected = [a for a, e in ALGORITHMS.items() if e.label in rows]
    algorithms = sorted(
        {*expected, *table["algorithm"]},
        key=lambda name: ([*ALGORITHMS, name].index(name), name),
    )
    fractions = sorted({*benchmark.table2, *table["support_fraction"]})
    results = runs.results(source_of(table, benchmark))
    report, shown = table2_report(
        results,
        benchmark,
        algorithms,
        fractions,
        (configured.get("report") or {}).get("target_accuracy"),
        stands_in=_stands_in(table),
    )
    missing = missing_cells(
        set(table[CELL].itertuples(index=False, name=None)),
        algorithms,
        fractions,
        wanted_seeds(table["seed"].dropna()),
    )
    given = _given(table, configured)
    lines = commands(missing, newest["benchmark"], newest["env"], given)
    won = list(gains(accuracies(results)).values())
    return _study(name, benchmark, runs, report, shown, lines, given.written, won)


def table3_study(
    name: str,
    runs: Runs,
    configured: Mapping[str, Any],
    described: pd.DataFrame | None,
) -> Study:
    """Table 3 and Figures 6 and 7 of one experiment.

    Args:
        name: The experiment's.
        runs: Of one home.
        configured: The benchmark's parameters as the files have them; may be empty.
        described: A ``table3`` that one of the runs logged, if there is one.
    """
    table, newest = runs.table, runs.newest
    benchmark = BENCHMARKS[newest["benchmark"]]
    results = runs.results(source_of(table, benchmark), CELLS)
    made = table3_report(results, described)
    given = _given(table, configured)
    lines = _seeds_missing(runs, f"{newest['benchmark']}_fedmeta", "all methods", given)
    return _study(name, benchmark, runs, *made, lines, given.written)


def declared_studies(recorded: Recorded, runs: pd.DataFrame) -> Iterator[Study]:
    """Every declared study, on each kind of data and at each support fraction."""
    for declared in STUDIES.values():
        homes = {experiment.home for experiment in declared.experiments}
        own = runs[runs["benchmark"].isin(homes)]
        # "femnist_nu_step_study_skewed (synthetic smoke)": the data of an experiment
        data = [
            e.removeprefix(b)
            for e, b in zip(own["experiment"], own["benchmark"], strict=True)
        ]
        for kind, rows in own.groupby(pd.Series(data, own.index, dtype=str)):
            chosen = {home: choose(found) for home, found in rows.groupby("benchmark")}
            every = pd.concat(c.runs for c in chosen.values())
            for p in sorted(every["support_fraction"].unique()):
                name = f"{declared.home}{kind}, {percent(p)} support"
                at_p = {
                    home: c._replace(runs=c.runs[c.runs["support_fraction"] == p])
                    for home, c in chosen.items()
                }
                yield from _declared(recorded, declared, name, at_p)


def _declared(
    recorded: Recorded, declared: Declared, name: str, chosen: dict[str, Chosen]
) -> Iterator[Study]:
    """A declared study, unless its report has never been made, or no file is left."""
    runs = read(recorded, chosen)
    if runs.table.empty:
        return
    newest = runs.newest
    further = {
        argument: recorded.report(newest, f"{table_of(dataset)}.csv")
        for argument, dataset in declared.further.items()
    }
    if any(table is None for table in further.values()):
        return
    told = {
        (e.home, variant): (
            f"{e.home}.{variant}",
            {"algorithm": v.algorithm, **e.factors, **v.factors},
        )
        for e in declared.experiments
        for variant, v in e.variants.items()
    }
    results = runs.results(source_of(runs.table, declared.benchmark), told)
    report = declared.report(results, **further)
    tables = (s.table for s in report.sections if s.table)
    shown = dict(zip(report.tables, tables, strict=False))
    lines = _seeds_missing(runs, declared.home, "all trainings", NOTHING)
    study = _study(name, declared.benchmark, runs, report, shown, lines, {})
    notes = [report.summary, *declared.notes, *study.data.notes]
    yield study._replace(data=study.data._replace(notes=notes))


def _study(
    name: str,
    benchmark: Benchmark,
    runs: Runs,
    report: Report,
    shown: dict[str, Shown],
    missing: list[tuple[str, str]],
    written: dict[str, str],
    gains: list[Value] | None = None,
) -> Study:
    table = runs.table.sort_values(["benchmark", *CELL], kind="stable")
    labels = ", ".join(dict.fromkeys(map(label_of, runs.bare)))
    bare = f"{counted(len(runs.bare))} of {labels}"
    data = Data(
        benchmark.label,
        source_of(table, benchmark),
        _synthetic(table),
        _stands_in(table),
        {
            # under the names that Kedro's parameters have
            f"{home}.{parameter.replace(OWN, f'{algorithm}.', 1)}": value
            for home, chosen in runs.chosen.items()
            for algorithm, setting in chosen.settings.items()
            for parameter, value in setting.items()
            if not parameter.startswith("code.")
        },
        [note for chosen in runs.chosen.values() for note in notes_on(chosen)]
        + [f"Left out: {bare} without files."] * bool(runs.bare),
    )
    ended = pd.to_datetime(table["ended"], unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
    columns = ["algorithm", "support_fraction", "seed", "diverged", "run_id", "commit"]
    tables = {**report.tables, "runs": table[columns].assign(ended=ended)}
    return Study(
        name, report._replace(tables=tables), data, shown, missing, written, gains or []
    )


def _seeds_missing(
    runs: Runs, pipeline: str, what: str, given: Given
) -> list[tuple[str, str]]:
    """The line that makes up for seeds that all of a study lacks."""
    seeds = sorted(runs.table["seed"].dropna().unique())
    lacking = [seed for seed in wanted_seeds(seeds) if seed not in seeds]
    line = command_line(pipeline, runs.newest["env"], {"seed": lacking}, given)
    return [(f"{what}: {seed_words(lacking)}", line)] if lacking else []


def _given(runs: pd.DataFrame, configured: Mapping[str, Any]) -> Given:
    """What each algorithm's newest run was given beyond the configuration."""
    newest = runs.sort_values("ended").drop_duplicates("algorithm", keep="last")
    recorded = dict(zip(newest["algorithm"], newest["parameters"], strict=True))
    return given_parameters(recorded, configured, newest["benchmark"].iloc[-1])


def source_of(runs: pd.DataFrame, benchmark: Benchmark) -> str:
    """What the data are, for titles: only its own data get a benchmark's name."""
    name = runs["data_name"].iloc[0]
    return source_words(benchmark, "synthetic sample" if _synthetic(runs) else name)


def _synthetic(runs: pd.DataFrame) -> bool:
    return runs["source"].iloc[0] != "real"


def _stands_in(runs: pd.DataFrame) -> bool:
    return _synthetic(runs) or bool(runs["data_name"].iloc[0])
