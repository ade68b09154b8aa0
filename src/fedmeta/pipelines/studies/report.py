"""The report of a study: its tables, figures and page, from what its runs left."""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd
from kedro.pipeline import Node, Pipeline
from matplotlib.figure import Figure

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.federated import FederatedDataset
from fedmeta.identity import Settings
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.reporting.nodes import (
    AGAIN,
    compared,
    settings_of_results,
    source_of,
)
from fedmeta.pipelines.studies.experiment import Experiment
from fedmeta.reporting import terminal
from fedmeta.reporting.claims import claims_frame
from fedmeta.reporting.divergence import sentences
from fedmeta.reporting.study_page import StudyPage, render_study


class Study(NamedTuple):
    """How the results of experiments become a report."""

    home: str  # under which name the report is
    benchmark: Benchmark  # whose name the data go under
    experiments: Sequence[Experiment]
    # of `fedmeta.reporting`: HEADING, tables, figures, claims, summary, sections
    words: ModuleType
    # (results of each of ``kinds`` by dataset name, source, further inputs by name)
    # -> its Results
    collect: Callable[..., Any]
    tables: Sequence[str]
    figures: Sequence[str]
    notes: Sequence[str]  # on the data
    further: Mapping[str, str] = {}  # argument of ``collect`` -> dataset
    kinds: Sequence[str] = ("scores", "history")  # that the runs leave


def create_pipeline(study: Study) -> Pipeline:
    """Histories and scores of all variants -> tables, figures, one HTML page."""
    home = f"{study.home}.report"
    results = {
        f"{experiment.home}__{name}__{kind}": f"{experiment.home}.{name}.{kind}"
        for experiment in study.experiments
        for name in experiment.variants
        for kind in study.kinds
    }
    shared = {
        "records": study.experiments[0].records,
        **study.further,
        **results,
        **{f"{e.home}__parameters": f"params:{e.home}" for e in study.experiments},
    }
    return Pipeline(
        [
            Node(
                bind(tabulate, study=study),
                shared,
                [f"{home}.{table}_table" for table in (*study.tables, "claims")],
                name=f"tabulate_{study.home}",
                namespace="report",
            ),
            Node(
                bind(draw, study=study),
                shared,
                [f"{home}.{figure}_figure" for figure in study.figures],
                name=f"draw_{study.home}",
                namespace="report",
            ),
            Node(
                bind(compose, study=study),
                shared,
                f"{home}.page",
                name=f"compose_{study.home}",
                namespace="report",
            ),
        ]
    )


def tabulate(
    study: Study, records: FederatedDataset, **results: Any
) -> tuple[pd.DataFrame, ...]:
    """The study's tables, in their order, and what became of the paper's claims."""
    collected = _collected(study, records, results)
    made = study.words.tables(collected)
    return (
        *(made[name] for name in study.tables),
        claims_frame(study.words.claims(collected)),
    )


def draw(study: Study, records: FederatedDataset, **results: Any) -> tuple[Figure, ...]:
    """The study's figures, in their order."""
    made = study.words.figures(_collected(study, records, results))
    return tuple(made[name] for name in study.figures)


def compose(study: Study, records: FederatedDataset, **results: Any) -> str:
    """The report as one HTML page; what became of the claims is printed too."""
    collected = _collected(study, records, results)
    source, claims = source_of(study.benchmark, records), study.words.claims(collected)
    diverged = sentences(
        {
            f"{experiment.home}.{name}": results[f"{experiment.home}__{name}__history"]
            for experiment in study.experiments
            for name in experiment.variants
        }
    )
    terminal.show(terminal.claims_table(claims, source))
    return render_study(
        StudyPage(
            benchmark=study.benchmark.label,
            source=source,
            synthetic=records.synthetic,
            stands_in=records.stands_in,
            heading=study.words.HEADING,
            summary=f"{study.words.summary(collected)} {diverged}".strip(),
            claims=claims,
            sections=study.words.sections(collected),
            # Drawn anew: a figure saved as a picture cannot be loaded as a figure.
            figures=study.words.figures(collected),
            parameters={
                name.removesuffix("__parameters"): value
                for name, value in results.items()
                if name.endswith("__parameters")
            },
            notes=study.notes,
        )
    )


def _collected(study: Study, records: FederatedDataset, results: dict[str, Any]) -> Any:
    """The results as the report's module wants them.

    Raises:
        ValueError: for results of other settings than this run's, or of other data or
            code than the others.
    """
    for experiment in study.experiments:
        made = _of_other_sources(experiment, study, results)
        if experiment.records == study.experiments[0].records:
            compared(records, made)
        else:
            identity.refuse_mixed(made, AGAIN)

    def of_kind(kind: str) -> dict[str, pd.DataFrame]:
        return {
            f"{experiment.home}.{name}": results[f"{experiment.home}__{name}__{kind}"]
            for experiment in study.experiments
            for name in experiment.variants
        }

    further = {name: results[name] for name in study.further}
    source = source_of(study.benchmark, records)
    return study.collect(*map(of_kind, study.kinds), source, **further)


def _of_other_sources(
    experiment: Experiment, study: Study, results: Mapping[str, Any]
) -> dict[str, Settings]:
    """Data and code that results were made with, once their options are this run's.

    The parameters say in which options the variants of a study differ.
    """
    home = experiment.home
    blocks = results[f"{home}__parameters"]
    common = {"model", "personalisation", "distances", "recipes"} & blocks.keys()
    shared = {name: blocks[name] for name in common}
    whole = {**shared, "training": blocks["training"]}
    tables, wanted = {}, {}
    for name, variant in experiment.variants.items():
        own = {"training": blocks[variant.training], name: blocks[name]}
        for kind in study.kinds:
            tables[f"{name} {kind}"] = results[f"{home}__{name}__{kind}"]
            wanted[f"{name} {kind}"] = identity.settings(**shared, **own)
    for name, dataset in study.further.items():
        if dataset.startswith(f"{home}."):
            tables[name], wanted[name] = results[name], identity.settings(**whole)
    made = settings_of_results(tables)
    for name, held in made.items():
        if names := identity.conflicts(held, wanted[name]):
            words = identity.in_words(names, held, wanted[name])
            raise ValueError(f"{home}: {name} was made with {words}; {AGAIN}")
    return {
        result: {k: v for k, v in held.items() if k.startswith(("code.", "data."))}
        for result, held in made.items()
    }
