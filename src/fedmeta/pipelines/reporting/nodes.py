"""Nodes around `fedmeta.reporting`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.identity import Settings
from fedmeta.pipelines.options import PartitionOptions, ReportOptions
from fedmeta.reporting import comparison, fairness, figures, tables
from fedmeta.reporting.divergence import lost_clients
from fedmeta.reporting.report import Data, render
from fedmeta.reporting.results import Run, stored, tidy
from fedmeta.reporting.shown import show, shown

LOWEST_TARGET = 0.5  # accuracy that costs are shown from
AGAIN = (
    "without --from-nodes or --nodes, finished trainings are taken over and what is"
    " missing is made"
)


def collect(
    benchmark: Benchmark,
    names: list[str],
    records: FederatedDataset,
    partition: PartitionOptions,
    report: ReportOptions,
    **results: pd.DataFrame,
) -> list[pd.DataFrame]:
    """The tidy tables of scores and histories: `fedmeta.reporting.results`.

    Raises:
        ValueError: if results differ in more than the algorithm: `compared`.
    """
    made = settings_of_results(results)
    made_with = compared(records, made, partition=partition, report=report)
    runs = {
        name: Run({}, results[f"{name}_scores"], results[f"{name}_history"])
        for name in names
    }
    return stored(tidy(runs.items(), source_of(benchmark, records)), made_with)


def tabulate(
    benchmark: Benchmark,
    names: list[str],
    records: FederatedDataset,
    partition: PartitionOptions,
    report: ReportOptions,
    **results: pd.DataFrame,
) -> tuple[pd.DataFrame, ...]:
    """The tables of accuracy, fairness, overhead, and overhead by target.

    Raises:
        ValueError: if results differ in more than the algorithm: `compared`.
    """
    made = settings_of_results(results)
    made_with = compared(records, made, partition=partition, report=report)
    scores, histories, validation = _by_label(
        names, results, "scores", "history", "validation_scores"
    )
    source = source_of(benchmark, records)
    paper = benchmark.table2.get(partition.support_fraction)
    if records.stands_in:
        paper = None
    return marked(
        made_with,
        tables.accuracy_table(scores, histories, paper, source),
        fairness.fairness_table(scores, source),
        tables.overhead_table(histories, report.target_accuracy, source),
        tables.targets_table(
            histories, validation, source, min(LOWEST_TARGET, report.target_accuracy)
        ),
    )


def draw(
    benchmark: Benchmark,
    names: list[str],
    records: FederatedDataset,
    report: ReportOptions,
    overhead: pd.DataFrame,
    targets: pd.DataFrame,
    **results: pd.DataFrame,
) -> tuple[Figure, ...]:
    """The figures, in the order of `FIGURES`."""
    others = {"overhead_table": overhead, "targets_table": targets}
    compared(records, settings_of_results({**results, **others}), report=report)
    scores, histories = _by_label(names, results, "scores", "history")
    source = source_of(benchmark, records)
    return (
        figures.accuracy_curves(histories, source, report.target_accuracy),
        figures.loss_curves(histories, source),
        figures.accuracy_density(scores, source),
        figures.adaptation_effect(scores, source),
        figures.overhead_bars(overhead, source),
        figures.cost_curves(targets, source),
    )


FIGURES = ("accuracy", "loss", "density", "adaptation", "overhead", "targets")


def compose(
    benchmark: Benchmark,
    names: list[str],
    records: FederatedDataset,
    report: ReportOptions,
    statistics: pd.DataFrame,
    accuracy: pd.DataFrame,
    fairness: pd.DataFrame,
    overhead: pd.DataFrame,
    targets: pd.DataFrame,
    partition: PartitionOptions,
    clients: pd.DataFrame,
    support_query: pd.DataFrame,
    codebook: Codebook,
    **results: pd.DataFrame,
) -> str:
    """The report as one HTML page; its headline table is printed too."""
    others = {
        "accuracy_table": accuracy,
        "fairness_table": fairness,
        "statistics": statistics,
    }
    made = settings_of_results({**results, **others})
    made_with = compared(records, made, partition=partition, report=report)
    # Drawn anew: a figure that was saved as a picture cannot be loaded as a figure.
    drawn = draw(benchmark, names, records, report, overhead, targets, **results)
    source = source_of(benchmark, records)
    title = f"Test accuracy before and after adaptation · {source}"
    show(comparison.printed(accuracy), title)
    return render(
        comparison.report(
            accuracy,
            fairness,
            overhead,
            dict(zip(FIGURES, drawn, strict=True)),
            benchmark.label,
            records.stands_in,
        ),
        Data(
            benchmark.label,
            source,
            records.synthetic,
            records.stands_in,
            parameters_of(made_with),
            [
                codebook.note,
                *partition_notes(benchmark, partition, clients, support_query),
                *lost_clients(_by_label(names, results, "scores")[0]),
            ],
            shown(statistics, plain=True),
        ),
    )


def compared(
    records: FederatedDataset, made: Mapping[str, Settings], **options: Any
) -> Settings:
    """Return the settings of results, after checking that they can be compared.

    Args:
        records: of this run.
        made: what each result was made with, by its name.
        options: blocks of this run that must be theirs too.

    Raises:
        ValueError: naming the settings that they share and differ in.
    """
    own = {"data.records": records.checksum, **identity.settings(**options)}
    return united({"this run": own, **made})


def united(made: Mapping[str, Settings]) -> Settings:
    """Return all settings of results that are compared.

    Raises:
        ValueError: naming the settings that they share and differ in.
    """
    identity.refuse_mixed(made, AGAIN)
    return {name: value for held in made.values() for name, value in held.items()}


def marked(made_with: Settings, *tables: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """Attach settings to tables."""
    for table in tables:
        table.attrs["settings"] = made_with
    return tables


def settings_of_results(results: Mapping[str, pd.DataFrame]) -> dict[str, Settings]:
    """Settings of each result.

    Raises:
        ValueError: for one that does not say.
    """
    for name, table in results.items():
        if "settings" not in table.attrs:
            raise ValueError(f"{name} does not say what it was made with; {AGAIN}")
    return {name: table.attrs["settings"] for name, table in results.items()}


def parameters_of(settings: Settings) -> dict[str, Any]:
    """The options among settings, as a page shows them."""
    return {
        name: value
        for name, value in settings.items()
        if not name.startswith(("code.", "data.")) and not name.endswith(".function")
    }


def source_of(benchmark: Benchmark, records: FederatedDataset) -> str:
    """What the data are, for titles: only its own data get a benchmark's name."""
    if records.synthetic:
        return f"synthetic sample, not {benchmark.label}"
    if records.stands_in:
        return f"{records.metadata['name']}, not {benchmark.label}"
    return benchmark.label


def partition_notes(
    benchmark: Benchmark,
    partition: PartitionOptions,
    clients: pd.DataFrame,
    support_query: pd.DataFrame,
) -> list[str]:
    """Notes on how support and query were divided."""
    if not benchmark.window_overlap:
        return []
    if partition.strategy != "order" or partition.gap < benchmark.window_overlap:
        return [
            "Records of a client that are fewer than"
            f" {benchmark.window_overlap} apart share content, and support and query"
            f" are divided {partition.strategy!r} with a gap of {partition.gap}:"
            " queries leak into support sets, which flatters adaptation."
            " partition.strategy=order with"
            f" partition.gap={benchmark.window_overlap} keeps them apart."
        ]
    left_out = len(clients) - len(support_query)
    return [
        f"Support comes before query with {partition.gap} records left out between,"
        f" which share content with both; {left_out} of {len(clients)} clients take no"
        f" part, since that leaves them fewer than {partition.min_query} query records."
    ]


def _by_label(
    names: list[str], results: dict[str, pd.DataFrame], *kinds: str
) -> tuple[dict[str, pd.DataFrame], ...]:
    """Results of some kinds, each by the algorithm's label."""
    return tuple(
        {ALGORITHMS[name].label: results[f"{name}_{kind}"] for name in names}
        for kind in kinds
    )
