"""What the runs of one experiment give: a report, what is missing, notes on the runs.

An experiment is a benchmark's (Table 2), the recommendation study (Table 3) or a study
that `fedmeta.studies` declares. Of each the runs that belong together are chosen, read
into `Results` with the seed as one more factor, and handed to the report.
"""

import logging
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.reporting import source_words
from fedmeta.reporting.measures import Value
from fedmeta.reporting.phrases import counted
from fedmeta.reporting.report import DataNote, Report
from fedmeta.reporting.results import TOLD, Results, Run, tidy
from fedmeta.reporting.shown import Shown
from fedmeta.reporting.wording import label_of, percent
from fedmeta.reproduction import commands as c
from fedmeta.reproduction.claims import gains
from fedmeta.reproduction.runs import Recorded
from fedmeta.reproduction.settings import CELL, OWN, Chosen, choose
from fedmeta.reproduction.table2 import accuracies, table2_report
from fedmeta.studies import STUDIES, recommendation
from fedmeta.studies import Study as Declared
from fedmeta.studies.study import table_of

log = logging.getLogger(__name__)


class Reproduction(NamedTuple):
    """An experiment's results."""

    name: str  # the experiment's name in MLflow
    report: Report  # its tables, figures, sections and claims
    data: DataNote  # what its data, settings and runs are
    shown: dict[str, Shown]  # tables for people, by name
    missing: list[c.CommandLine] = []
    given: c.Given = c.NOTHING  # what the missing runs need beyond the configuration
    gains: list[Value] = []  # FedMeta's over FedAvg, in points


class Runs(NamedTuple):
    """Chosen runs with what they left."""

    chosen: dict[str, Chosen]  # by the home of their results; at least one
    histories: dict[str, pd.DataFrame]  # by run id; may lack some
    scores: dict[str, pd.DataFrame]  # by run id; may lack some
    # algorithms of the runs that were left out since their files are missing
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

    def results(self, benchmark: Benchmark, of: Declared | None = None) -> Results:
        """The tidy tables.

        Args:
            benchmark: that the runs are of, or stand in for.
            of: the study whose cells they are; what is none of them is left out. None:
                a cell an algorithm.
        """
        told = of and of.cells()
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
        return tidy(cells, _data_of(self, benchmark).source)


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
    for experiment, rows in left_out.groupby("experiment"):
        log.warning(
            "%s: left out %s, whose history and scores MLflow has lost; kedro track"
            " logs again what is under data/",
            experiment,
            _runs_of(rows["algorithm"]),
        )
    return Runs(kept, histories, scores, left_out["algorithm"].tolist())


def table2_study(name: str, runs: Runs, configured: Mapping[str, Any]) -> Reproduction:
    """Table 2 and Figures 2 to 5 of one experiment.

    Args:
        runs: of one home.
        configured: the benchmark's parameters as the files have them; may be empty.
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
    results, data = runs.results(benchmark), _data_of(runs, benchmark)
    target = (configured.get("report") or {}).get("target_accuracy")
    report, shown = table2_report(
        results,
        benchmark,
        algorithms,
        fractions,
        target,
        stands_in=data.stands_in,
    )
    there = set(table[CELL].itertuples(index=False, name=None))
    grid = product(algorithms, fractions, c.wanted_seeds(table["seed"].dropna()))
    missing = [cell for cell in grid if cell not in there]
    given = _given(table, configured)
    lines = c.commands(missing, newest["benchmark"], newest["env"], given)
    won = list(gains(accuracies(results)).values())
    return _with_runs(Reproduction(name, report, data, shown, lines, given, won), runs)


def table3_study(
    name: str,
    runs: Runs,
    configured: Mapping[str, Any],
    described: pd.DataFrame | None,
) -> Reproduction:
    """Table 3 and Figures 6 and 7 of one experiment, means over seeds.

    Args:
        runs: of one home.
        configured: the benchmark's parameters as the files have them; may be empty.
        described: a ``table3`` that one of the runs logged, with sizes of the methods.
    """
    declared = recommendation.STUDY
    results = runs.results(declared.benchmark, declared)
    # A method that was not run has a row without numbers.
    every = pd.DataFrame([factors for _, factors in declared.cells().values()])
    cells = every.merge(results.cells, how="left")
    cells[TOLD] = cells[TOLD].fillna("")
    sizes = {}
    if described is not None:
        sizes = dict(described.set_index("id")["parameters"].dropna())
    report = recommendation.report_on(results._replace(cells=cells), sizes)
    table, curves, _ = report.sections
    seeds = sorted(results.values("seed"))  # what learns nothing has none
    over = f" Means over {c.seed_words(seeds)}." if seeds else ""
    title = "Table 3: recommending the next service"
    sections = [
        table._replace(title=title, text=f"{table.text}{over}"),
        curves._replace(title="Figures 6 and 7"),
    ]
    tables = {"table3": report.tables["table3"]}
    report = report._replace(tables=tables, sections=sections)
    assert table.table is not None  # the section is that of the table
    given = _given(runs.table, configured)
    lines = _seeds_missing(runs, f"{declared.home}_fedmeta", "all methods", given)
    data = _data_of(runs, declared.benchmark)
    study = Reproduction(name, report, data, {"table3": table.table}, lines, given)
    return _with_runs(study, runs)


def declared_studies(recorded: Recorded, runs: pd.DataFrame) -> Iterator[Reproduction]:
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
) -> Iterator[Reproduction]:
    """A declared study, unless its report has never been made, or no file is left."""
    runs = read(recorded, chosen)
    if runs.table.empty:
        return
    further = {
        argument: recorded.report(runs.newest, f"{table_of(dataset)}.csv")
        for argument, dataset in declared.further.items()
    }
    if any(table is None for table in further.values()):
        return
    report = declared.report(runs.results(declared.benchmark, declared), **further)
    data = _data_of(runs, declared.benchmark)
    data = data._replace(notes=[report.summary, *declared.notes, *data.notes])
    tables = (s.table for s in report.sections if s.table)
    shown = dict(zip(report.tables, tables, strict=False))
    lines = _seeds_missing(runs, declared.home, "all trainings", c.NOTHING)
    yield _with_runs(Reproduction(name, report, data, shown, lines), runs)


def _seeds_missing(
    runs: Runs, pipeline: str, what: str, given: c.Given
) -> list[c.CommandLine]:
    """The line that makes up for seeds that all of a study lacks."""
    seeds = sorted(runs.table["seed"].dropna().unique())
    lacking = [seed for seed in c.wanted_seeds(seeds) if seed not in seeds]
    line = c.command_line(pipeline, runs.newest["env"], {"seed": lacking}, given)
    return [(f"{what}: {c.seed_words(lacking)}", line)] if lacking else []


def _given(runs: pd.DataFrame, configured: Mapping[str, Any]) -> c.Given:
    """What each algorithm's newest run was given beyond the configuration."""
    newest = runs.sort_values("ended").drop_duplicates("algorithm", keep="last")
    recorded = dict(zip(newest["algorithm"], newest["parameters"], strict=True))
    return c.given_parameters(recorded, configured, newest["benchmark"].iloc[-1])


def _with_runs(study: Reproduction, runs: Runs) -> Reproduction:
    """The study with a table of its runs."""
    table = runs.table.sort_values(["benchmark", *CELL], kind="stable")
    ended = pd.to_datetime(table["ended"], unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
    columns = ["algorithm", "support_fraction", "seed", "diverged", "run_id", "commit"]
    tables = {**study.report.tables, "runs": table[columns].assign(ended=ended)}
    return study._replace(report=study.report._replace(tables=tables))


def _data_of(runs: Runs, benchmark: Benchmark) -> DataNote:
    """What the runs' data and settings are, and which runs count."""
    first = runs.table.iloc[0]
    synthetic = first["source"] != "real"
    other = "synthetic sample" if synthetic else first["data_name"]
    return DataNote(
        benchmark.label,
        source_words(benchmark, other),
        synthetic,
        bool(other),
        {
            # under the names that Kedro's parameters have
            f"{home}.{parameter.replace(OWN, f'{algorithm}.', 1)}": value
            for home, chosen in runs.chosen.items()
            for algorithm, setting in chosen.settings.items()
            for parameter, value in setting.items()
            if not parameter.startswith("code.")
        },
        [note for chosen in runs.chosen.values() for note in chosen.notes()]
        + [f"Left out: {_runs_of(runs.bare)} without files."] * bool(runs.bare),
    )


def _runs_of(algorithms: Any) -> str:
    labels = ", ".join(dict.fromkeys(map(label_of, algorithms)))
    return f"{counted(len(algorithms), 'run')} of {labels}"
