"""The graph of preparation."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.preparation.nodes import (
    describe,
    divide,
    encode,
    select,
    split,
)


def create_pipeline(
    benchmark: str, entry: Benchmark | None = None, records: str | None = None
) -> Pipeline:
    """Packed records -> clients, their split, support and query sets, Table 1.

    Args:
        benchmark: under which name datasets and parameters are.
        entry: what it is; None: that of this name in `BENCHMARKS`.
        records: a dataset of another name; None: the benchmark's.
    """
    entry = entry or BENCHMARKS[benchmark]
    records, clients = records or f"{benchmark}.records", f"{benchmark}.clients"
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
