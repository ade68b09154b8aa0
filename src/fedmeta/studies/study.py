"""A study: trainings that differ in factors, and how their results become a report."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from kedro.pipeline import Node, Pipeline

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.configuration import PARAMETERS
from fedmeta.data.federated import FederatedDataset
from fedmeta.identity import Settings
from fedmeta.options import checked
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.checks import Block, checked_by
from fedmeta.pipelines.reporting import (
    AGAIN,
    compared,
    settings_of_results,
    source_of,
)
from fedmeta.pipelines.studies.experiment import Experiment
from fedmeta.reporting.report import DataNote, Report, render
from fedmeta.reporting.results import Results, Run, restored, stored, tidy
from fedmeta.reporting.shown import show, shown
from fedmeta.reporting.verdicts import claims_frame

KINDS = ("scores", "history")  # what a training leaves, as far as its graph has it
# Blocks of options that all results of an experiment share.
COMMON = {"personalisation", "distances", "recipes", "partition", "study"}


class Study(NamedTuple):
    """A declaration: which trainings, on which data, and what is said of them."""

    home: str  # under which name the report is, and the pipeline
    benchmark: Benchmark  # whose name the data go under
    experiments: Sequence[Experiment]  # the trainings; factors tell them apart
    report: Callable[..., Report]  # results, and further inputs by name -> the report
    tables: Sequence[str]  # names of the report's tables
    figures: Sequence[str]  # names of its figures
    notes: Sequence[str]  # sentences on the data
    more: Sequence[Callable[[], Node]] = ()  # further nodes
    further: Mapping[str, str] = {}  # argument of `report` -> dataset
    options: Mapping[str, type] = {}  # argument among these -> the type of its options
    claims: bool = True  # whether the report checks what a paper says

    def cells(self) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
        """The name and the factors of every cell, by home and variant."""
        return {
            (e.home, name): (
                f"{e.home}.{name}",
                {"algorithm": v.algorithm, **e.factors, **v.factors},
            )
            for e in self.experiments
            for name, v in e.variants.items()
        }


def create_pipeline(study: Study) -> Pipeline:
    """Raw files -> trainings -> tidy tables -> tables, figures, one HTML page."""
    trained = sum((e.graph(e) for e in study.experiments), Pipeline([]))
    data = sum((e.clients.create_pipeline() for e in study.experiments), Pipeline([]))
    more = Pipeline([make() for make in study.more])
    homes = {experiment.home for experiment in study.experiments}
    left = [f"{home}.{name}.{kind}" for home, name in study.cells() for kind in KINDS]
    options = [
        name
        for name in sorted((data + trained + more).inputs())
        if name.startswith(PARAMETERS) and _home_of(name) in homes
        # wherever raw files lie, their records are the same
        if not name.endswith(".raw")
    ]
    results = [name for name in left if name in trained.all_outputs()]
    home = f"{study.home}.report"
    tables = [*study.tables, *(["claims"] if study.claims else [])]
    tidied = {name: f"{home}.{name}" for name in ("results", "histories")}
    # What nobody names in code is an argument of its own name.
    read = {"records": study.experiments[0].clients.records, **study.further}
    read |= {name: name for name in options}
    made = [
        *(f"{home}.{table}_table" for table in tables),
        *(f"{home}.{figure}_figure" for figure in study.figures),
        f"{home}.page",
    ]
    reported = Pipeline(
        [
            node(
                bind(collect, study=study),
                list(tidied.values()),
                study.home,
                "report",
                {**read, **{name: name for name in results}},
            ),
            node(bind(compose, study=study), made, study.home, "report", read | tidied),
        ]
    )
    return data + trained + more + reported


def collect(study: Study, records: FederatedDataset, **inputs: Any) -> tuple:
    """The tidy tables of scores and histories of all trainings.

    Raises:
        ValueError: for results of other settings than this run's, or of other data or
            code than the others.
    """
    made: Settings = {}
    for experiment in study.experiments:
        held = _of_this_run(experiment, study, inputs)
        sources = {
            result: {k: v for k, v in found.items() if k.startswith(("code.", "data."))}
            for result, found in held.items()
        }
        if experiment.clients.records == study.experiments[0].clients.records:
            made |= compared(records, sources) | _agreed(held.values())
        else:
            identity.refuse_mixed(sources, AGAIN)
    runs = [
        (cell, Run(own, *(inputs.get(f"{home}.{name}.{kind}") for kind in KINDS)))
        for (home, name), (cell, own) in study.cells().items()
    ]
    return tuple(stored(tidy(runs, source_of(study.benchmark, records)), made))


def check_options(study: Study, **given: Block) -> None:
    """Options that the report alone reads."""
    for argument, kind in study.options.items():
        checked(kind, given[argument].options, given[argument].name)


@checked_by(check_options)
def compose(
    study: Study,
    records: FederatedDataset,
    results: pd.DataFrame,
    histories: pd.DataFrame,
    **inputs: Any,
) -> tuple:
    """The tables, figures and page; what became of the claims is printed too.

    Raises:
        ValueError: for results of other settings than this run's.
    """
    source = source_of(study.benchmark, records)
    options = _options(inputs)
    tables = {k: v for k, v in inputs.items() if isinstance(v, pd.DataFrame)}
    made = settings_of_results({"results": results, "histories": histories, **tables})
    compared(records, made, **options[study.experiments[0].home])
    found = restored(results, histories, source)
    further = {name: {"records": records, **inputs}[name] for name in study.further}
    report = study.report(found, **further)
    report = report._replace(summary=f"{report.summary} {diverged(found)}".strip())
    claims = claims_frame(report.claims)
    if study.claims:
        told = claims[["claim", "verdict"]].set_axis(["Claim", "Here"], axis=1)
        show(shown(told, plain=True), f"Claims of the paper · {source}", wrapped=1)
    page = render(
        report,
        DataNote(
            study.benchmark.label,
            source,
            records.synthetic,
            records.stands_in and study.benchmark.published,
            options,
            [*study.notes, *report.notes],
        ),
    )
    return (
        *(report.tables[name] for name in study.tables),
        *([claims] if study.claims else []),
        *(report.figures[name] for name in study.figures),
        page,
    )


def _home_of(argument: str) -> str:
    return argument.removeprefix(PARAMETERS).partition(".")[0]


def _options(inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Blocks of options by home and name."""
    found: dict[str, dict[str, Any]] = {}
    for argument, block in inputs.items():
        if argument.startswith(PARAMETERS):
            home = _home_of(argument)
            found.setdefault(home, {})[argument.partition(".")[2]] = block
    return found


def _agreed(held: Collection[Settings]) -> Settings:
    """Settings that none has with another value."""
    found = {name: value for settings in held for name, value in settings.items()}
    return {
        name: value
        for name, value in found.items()
        if not any(identity.conflicts(settings, {name: value}) for settings in held)
    }


def table_of(dataset: str) -> str:
    """The file name, without its suffix, of a report's table."""
    return dataset.rpartition(".")[2].removesuffix("_table")


def diverged(results: Results) -> str:
    """A sentence for each training that diverged, and each that does on some clients.

    By its label, or the name of its cell.
    """
    cells = results.cells
    names = cells["label"] if "label" in cells else cells["cell"]
    told = [
        *(names + " " + cells["diverged"] + ".")[cells["diverged"] != ""],
        *(names + ": " + cells["not_finite"] + ".")[cells["not_finite"] != ""],
    ]
    return " ".join(told)


def _of_this_run(
    experiment: Experiment, study: Study, inputs: Mapping[str, Any]
) -> dict[str, Settings]:
    """What results were made with, once their options are this run's.

    The parameters say in which options the variants of a study differ.
    """
    home, blocks = experiment.home, _options(inputs)[experiment.home]
    shared = {name: blocks[name] for name in COMMON & blocks.keys()}
    whole = {**shared, **{name: blocks.get(name, {}) for name in ("training", "model")}}
    tables, wanted = {}, {}
    for name, variant in experiment.variants.items():
        own = {"training": blocks.get(variant.training, {}), name: blocks.get(name, {})}
        own["model"] = blocks.get(variant.model, {})
        for kind in KINDS:
            if (table := inputs.get(f"{home}.{name}.{kind}")) is not None:
                tables[f"{name} {kind}"] = table
                wanted[f"{name} {kind}"] = identity.settings(**shared | own)
    for name, dataset in study.further.items():
        table = inputs.get(name)
        if dataset.startswith(f"{home}.") and isinstance(table, pd.DataFrame):
            tables[name], wanted[name] = table, identity.settings(**whole)
    made = settings_of_results(tables)
    for name, held in made.items():
        if names := identity.conflicts(held, wanted[name]):
            words = identity.in_words(names, held, wanted[name])
            raise ValueError(f"{home}: {name} was made with {words}; {AGAIN}")
    return made
