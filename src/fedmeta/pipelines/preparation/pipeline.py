"""The graph of preparation."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind, node
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
    functions = {
        "clients": bind(select, benchmark=entry),
        "statistics": bind(describe, benchmark=entry),
        "client_split": split,
        "support_query": bind(divide, benchmark=entry),
        "codebook": bind(encode, benchmark=entry),
    }
    found = []
    for made, function in functions.items():
        read = {"records": records} if records and made != "client_split" else {}
        output = f"{benchmark}.{made}"
        found.append(node(function, output, benchmark, "preparation", read))
    return Pipeline(found)
