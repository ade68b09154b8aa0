"""The graph of preparation."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.preparation.nodes import (
    describe,
    divide,
    encode,
    select,
    split,
)


def create_pipeline(benchmark: str) -> Pipeline:
    """Packed records -> clients, their split, support and query sets, Table 1."""
    entry = BENCHMARKS[benchmark]
    records, clients = f"{benchmark}.records", f"{benchmark}.clients"
    return Pipeline(
        [
            Node(
                bind(select, benchmark=entry),
                {"records": records, "selection": f"params:{benchmark}.selection"},
                clients,
                name=f"select_{benchmark}",
                namespace="preparation",
            ),
            Node(
                bind(describe, benchmark=entry),
                {"records": records, "clients": clients},
                f"{benchmark}.statistics",
                name=f"describe_{benchmark}",
                namespace="preparation",
            ),
            Node(
                split,
                {"clients": clients, "partition": f"params:{benchmark}.partition"},
                f"{benchmark}.client_split",
                name=f"split_{benchmark}",
                namespace="preparation",
            ),
            Node(
                bind(divide, benchmark=entry),
                {
                    "records": records,
                    "clients": clients,
                    "partition": f"params:{benchmark}.partition",
                },
                f"{benchmark}.support_query",
                name=f"divide_{benchmark}",
                namespace="preparation",
            ),
            Node(
                bind(encode, benchmark=entry),
                {
                    "records": records,
                    "clients": clients,
                    "client_split": f"{benchmark}.client_split",
                    "encoding": f"params:{benchmark}.encoding",
                },
                f"{benchmark}.codebook",
                name=f"encode_{benchmark}",
                namespace="preparation",
            ),
        ]
    )
