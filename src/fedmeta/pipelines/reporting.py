"""What reports of recorded results share: may they be compared, what are their data?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.federated import FederatedDataset
from fedmeta.identity import Settings
from fedmeta.pipelines.options import PartitionOptions

AGAIN = (
    "run the whole pipeline, without --from-nodes or --nodes: finished trainings are"
    " reused"
)


def compared(
    records: FederatedDataset, made: Mapping[str, Settings], **options: Any
) -> Settings:
    """Return the settings of results, after checking that they can be compared.

    Args:
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


def settings_of_results(results: Mapping[str, pd.DataFrame]) -> dict[str, Settings]:
    """Settings of each result.

    Raises:
        ValueError: for one that does not say.
    """
    for name, table in results.items():
        if "settings" not in table.attrs:
            raise ValueError(f"{name} does not say what it was made with; {AGAIN}")
    return {name: table.attrs["settings"] for name, table in results.items()}


def source_of(benchmark: Benchmark, records: FederatedDataset) -> str:
    """What the data are, for titles."""
    if records.synthetic:
        return source_words(benchmark, "synthetic sample")
    return source_words(
        benchmark, records.metadata["name"] if records.stands_in else ""
    )


def source_words(benchmark: Benchmark, stand_in: str) -> str:
    """Data for titles: only its own data get a published benchmark's name alone."""
    if stand_in and benchmark.published:
        return f"{stand_in}, not {benchmark.label}"
    return stand_in or benchmark.label


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
