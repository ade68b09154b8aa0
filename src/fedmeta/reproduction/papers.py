"""Studies of related papers over seeds, from their recorded trainings."""

from collections.abc import Iterator

import pandas as pd

from fedmeta.reporting.results import Run, tidy
from fedmeta.reproduction.commands import (
    Command,
    Given,
    command_line,
    seed_words,
    wanted_seeds,
)
from fedmeta.reproduction.runs import Recorded
from fedmeta.reproduction.settings import Chosen, choose
from fedmeta.reproduction.study import (
    Study,
    notes_on,
    parameters_of,
    runs_table,
    source_of,
    stands_in,
    synthetic,
)
from fedmeta.reproduction.tables import percent
from fedmeta.studies import STUDIES
from fedmeta.studies import Study as Declared
from fedmeta.studies.study import table_of


def paper_studies(recorded: Recorded, runs: pd.DataFrame) -> Iterator[Study]:
    """Every declared study, on each kind of data and at each support fraction."""
    for declared in STUDIES.values():
        homes = {experiment.home for experiment in declared.experiments}
        own = runs[runs["benchmark"].isin(homes)]
        # "femnist_nustep_skewed (synthetic smoke)": the data of an experiment
        data = [
            e.removeprefix(b)
            for e, b in zip(own["experiment"], own["benchmark"], strict=True)
        ]
        for kind, rows in own.groupby(pd.Series(data, own.index, dtype=str)):
            chosen = {name: choose(found) for name, found in rows.groupby("benchmark")}
            taken = pd.concat([c.runs for c in chosen.values()], ignore_index=True)
            for p, at_p in taken.groupby("support_fraction"):
                name = f"{declared.home}{kind}, {percent(p)} support"
                study = _study(recorded, declared, name, at_p, chosen)
                yield from [study] if study else []


def _study(
    recorded: Recorded,
    declared: Declared,
    name: str,
    runs: pd.DataFrame,
    chosen: dict[str, Chosen],
) -> Study | None:
    histories, scores = (recorded.tables(runs, k) for k in ("history", "scores"))
    variants = {
        (e.home, variant): (f"{e.home}.{variant}", v.algorithm, e.factors, v.factors)
        for e in declared.experiments
        for variant, v in e.variants.items()
    }
    cells = []
    for run in runs.itertuples():
        if (run.benchmark, run.algorithm) not in variants:
            continue  # of an earlier version of the study
        cell, algorithm, shared, own = variants[run.benchmark, run.algorithm]
        told = {"support_fraction": run.support_fraction, "seed": run.seed}
        factors = {"algorithm": algorithm, **told, **shared, **own}
        found = scores.get(run.run_id), histories.get(run.run_id)
        cells.append((cell, Run(factors, *found)))
    newest = runs.loc[runs["ended"].idxmax()]
    further = {
        argument: recorded.table(newest, f"report/{table_of(dataset)}.csv")
        for argument, dataset in declared.further.items()
    }
    if any(table is None for table in further.values()):
        return None  # its report has not been made once
    source = source_of(runs, declared.benchmark)
    report = declared.report(tidy(cells, source), **further)
    seeds = sorted(runs["seed"].dropna().unique())
    lacking = [seed for seed in wanted_seeds(seeds) if seed not in seeds]
    line = command_line(declared.home, newest["env"], {"seed": lacking}, Given({}, {}))
    return Study(
        name,
        declared.benchmark.label,
        source,
        synthetic(runs),
        stands_in(runs),
        {**report.tables, "runs": runs_table(runs)},
        {
            made: section.table
            for made, section in zip(
                report.tables, (s for s in report.sections if s.table), strict=False
            )
        },
        dict(report.figures),
        [section._replace(level=3) for section in report.sections],
        list(report.claims),
        [],
        [Command(line, f"all trainings: {seed_words(lacking)}")] if lacking else [],
        {},
        [
            report.summary,
            *declared.notes,
            *(n for c in chosen.values() for n in notes_on(c, histories, scores)),
        ],
        {
            key: value
            for home, found in chosen.items()
            for key, value in parameters_of(found, home).items()
        },
    )
