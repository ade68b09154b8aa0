"""The graph of preparation."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.preparation.nodes import (
    describe,
    divide,
    encode,
    select,
    split,
)


def create_pipeline(home: str, benchmark: Benchmark, records: str) -> Pipeline:
    """Packed records -> clients, their split, support and query sets, Table 1.

    Args:
        home: under which name datasets and parameters are.
        benchmark: what the clients are of.
        records: the dataset that they are from.
    """
    functions = {
        "clients": bind(select, benchmark=benchmark),
        "statistics": bind(describe, benchmark=benchmark),
        "client_split": split,
        "support_query": bind(divide, benchmark=benchmark),
        "codebook": bind(encode, benchmark=benchmark),
    }
    found = []
    for made, function in functions.items():
        read = {} if function is split else {"records": records}
        found.append(node(function, f"{home}.{made}", home, "preparation", read))
    return Pipeline(found)
