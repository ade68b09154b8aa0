"""The graph of ingestion."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.ingestion.nodes import find_raw, pack


def create_pipeline(benchmark: str) -> Pipeline:
    """Raw files -> packed records of all clients."""
    entry = BENCHMARKS[benchmark]
    return Pipeline(
        [
            Node(
                bind(find_raw, benchmark=entry),
                {"raw": f"params:{benchmark}.raw"},
                f"{benchmark}.raw_files",
                name=f"find_raw_{benchmark}",
                namespace="ingestion",
            ),
            Node(
                bind(pack, benchmark=entry),
                {
                    "raw": f"params:{benchmark}.raw",
                    "raw_files": f"{benchmark}.raw_files",
                },
                f"{benchmark}.records",
                name=f"pack_{benchmark}",
                namespace="ingestion",
            ),
        ]
    )
