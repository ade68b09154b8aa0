"""The nodes of the study's report."""

import json
import math
import re
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.identity import Settings
from fedmeta.pipelines.checks import check_models, checked_by
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.recommendation.methods import (
    FEDERATED,
    METHODS,
    TRAINED,
    described,
)
from fedmeta.pipelines.reporting import (
    compared,
    marked,
    parameters_of,
    settings_of_results,
    source_of,
)
from fedmeta.reporting import recommendation_figures as figures
from fedmeta.reporting import recommendation_page as page
from fedmeta.reporting.divergence import lost_clients
from fedmeta.reporting.recommendation_tables import Method, table3, users_table
from fedmeta.reporting.report import Data, render
from fedmeta.reporting.results import Run, tidy
from fedmeta.reporting.shown import show, shown

FIGURES = ("episodes", "steps", "users")
SLOTS_NOTE = (
    "A model tells {} services of a user apart: those used most in the support records,"
    " then others in the order of their first use. Records of further services count as"
    " missed. A service that is used for the first time has the next free number: the"
    " services on a phone are assumed to be known beforehand."
)


@checked_by(check_models)
def tabulate(
    benchmark: Benchmark,
    records: FederatedDataset,
    codebook: Codebook,
    models: dict[str, dict],
    unified: Checkpoint,
    **results: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table 3, and what single users get.

    Raises:
        ValueError: if results differ in more than the method.
    """
    made_with = _made_with(records, models, results)
    methods = _methods(benchmark, codebook, models, unified)
    source = source_of(benchmark, records)
    scores = _by_label(methods, _kind(results, "scores"))
    return marked(
        made_with,
        table3(methods, scores, source, paper=not records.stands_in),
        users_table(methods, scores, source),
    )


def draw(
    benchmark: Benchmark,
    records: FederatedDataset,
    codebook: Codebook,
    models: dict[str, dict],
    unified: Checkpoint,
    **results: pd.DataFrame,
) -> tuple[Figure, ...]:
    """Figures 6 and 7 of the paper, and the spread over users: `FIGURES`."""
    _made_with(records, models, results)
    methods = _methods(benchmark, codebook, models, unified)
    source = source_of(benchmark, records)
    scores = _by_label(methods, _kind(results, "scores"))
    return (
        figures.episode_curves(
            {
                label: tidy([(label, Run({}, history=table))], source)
                for label, table in _histories(results).items()
            },
            source,
        ),
        figures.step_curves(methods, scores, source),
        figures.user_spread(methods, scores, source),
    )


def compose(
    benchmark: Benchmark,
    records: FederatedDataset,
    codebook: Codebook,
    models: dict[str, dict],
    unified: Checkpoint,
    statistics: pd.DataFrame,
    table: pd.DataFrame,
    users: pd.DataFrame,
    partition: PartitionOptions,
    **results: pd.DataFrame,
) -> str:
    """The report as one HTML page; Table 3 is printed too."""
    others = {"table3_table": table, "users_table": users, "statistics": statistics}
    made_with = _made_with(records, models, {**results, **others}, partition=partition)
    # Drawn anew: a figure that was saved as a picture cannot be loaded as a figure.
    drawn = draw(benchmark, records, codebook, models, unified, **results)
    methods = _methods(benchmark, codebook, models, unified)
    source = source_of(benchmark, records)
    title = f"Test accuracy in percent, by support · {source}"
    show(page.grouped(table.drop(columns="parameters")), title)  # no room for it
    return render(
        page.report(
            table, users, _histories(results), dict(zip(FIGURES, drawn, strict=True))
        ),
        Data(
            benchmark.label,
            source,
            records.synthetic,
            records.stands_in,
            parameters_of(made_with),
            [
                codebook.note,
                *json.loads(records.metadata["notes"]),
                SLOTS_NOTE.format(records.metadata["slots"]),
                "Validation users, whom the curves by episode show, learn from the"
                f" first {100 * partition.support_fraction:g} % of their records; in"
                " the paper's Figure 6 it is 80 %.",
                *lost_clients(_by_label(methods, _kind(results, "scores"))),
            ],
            shown(statistics, plain=True),
        ),
    )


def _made_with(
    records: FederatedDataset,
    models: dict[str, dict],
    results: dict[str, pd.DataFrame],
    **options: Any,
) -> Settings:
    """What the methods were made with, the model of each under the model's name.

    Raises:
        ValueError: if results differ in more than the method.
    """
    models_of = {name: f"models.{m.model}." for name, m in FEDERATED.items()}
    models_of |= {name: f"models.{name}." for name in TRAINED}

    def named(result: str, settings: Settings) -> Settings:
        model = models_of.get(result.rpartition("_")[0], "")
        return {re.sub("^model[.]", model, n): v for n, v in settings.items()}

    made = settings_of_results(results)
    made = {result: named(result, held) for result, held in made.items()}
    return compared(records, made, models=models, **options)


def _methods(
    benchmark: Benchmark,
    codebook: Codebook,
    models: dict[str, dict],
    unified: Checkpoint,
) -> list[Method]:
    """The methods with their numbers of parameters, which depend on the log."""
    sizes = benchmark.encoding(codebook).sizes
    networks = {
        name: benchmark.model(**sizes, **m).init(0) for name, m in models.items()
    }
    networks["unified"] = unified.state.meta["theta"]
    return described(
        {
            name: sum(math.prod(p.shape) for p in params.values())
            for name, params in networks.items()
        }
    )


def _kind(results: dict[str, pd.DataFrame], kind: str) -> dict[str, pd.DataFrame]:
    """The results named ``<method>_<kind>``, by method."""
    named = {name: results.get(f"{name}_{kind}") for name in METHODS}
    return {name: table for name, table in named.items() if table is not None}


def _by_label(
    methods: list[Method], scores: dict[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    return {m.label: scores[m.id] for m in methods if m.id in scores}


def _histories(results: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    histories = _kind(results, "history")
    return {FEDERATED[name].label: table for name, table in histories.items()}
