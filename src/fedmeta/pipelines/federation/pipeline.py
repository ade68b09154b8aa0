"""The graph of a federation's data."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines import preparation
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.federation.nodes import ask


def create_pipeline(benchmark: str) -> Pipeline:
    """What nodes hold -> clients, their split, support and query sets, Table 1."""
    function = bind(ask, benchmark=BENCHMARKS[benchmark])
    made = [_records_of(benchmark), f"{benchmark}.clients"]
    asked = node(function, made, benchmark, "federation")
    prepared = preparation.create_pipeline(benchmark).nodes
    others = [own for own in prepared if f"{benchmark}.clients" not in own.outputs]
    return Pipeline([asked]) + remote(benchmark, Pipeline(others))


def remote(benchmark: str, graph: Pipeline) -> Pipeline:
    """The same graph, on records that are on nodes."""
    return Pipeline(graph, inputs={f"{benchmark}.records": _records_of(benchmark)})


def _records_of(benchmark: str) -> str:
    return f"{benchmark}.remote_records"
