"""The graph of preparation."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.preparation.nodes import describe, divide, select, split


def create_pipeline(benchmark: str) -> Pipeline:
    """Packed records -> clients, their split, their support and query sets, Table 1."""
    entry = BENCHMARKS[benchmark]
    records, clients = f"{benchmark}.records", f"{benchmark}.clients"
    return Pipeline(
        [
            Node(
                bind(select, benchmark=entry),
                {"records": records, "selection": f"params:{benchmark}.selection"},
                clients,
                name="select",
                namespace="preparation",
            ),
            Node(
                bind(describe, benchmark=entry),
                {"records": records, "clients": clients},
                f"{benchmark}.statistics",
                name="describe",
                namespace="preparation",
            ),
            Node(
                split,
                {"clients": clients, "partition": f"params:{benchmark}.partition"},
                f"{benchmark}.client_split",
                name="split",
                namespace="preparation",
            ),
            Node(
                divide,
                {
                    "records": records,
                    "clients": clients,
                    "partition": f"params:{benchmark}.partition",
                },
                f"{benchmark}.support_query",
                name="divide",
                namespace="preparation",
            ),
        ]
    )
