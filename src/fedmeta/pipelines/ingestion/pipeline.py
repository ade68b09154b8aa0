"""The graph of ingestion."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.ingestion.nodes import find_raw, pack


def create_pipeline(benchmark: str) -> Pipeline:
    """Raw files -> packed records of all clients."""
    return Pipeline(
        [
            node(
                bind(function, benchmark=BENCHMARKS[benchmark]),
                f"{benchmark}.{made}",
                benchmark,
                "ingestion",
            )
            for function, made in ((find_raw, "raw_files"), (pack, "records"))
        ]
    )
