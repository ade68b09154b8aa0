"""The graph of a federation's data."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines import preparation
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.federation.nodes import ask, learn


def create_pipeline(benchmark: str) -> Pipeline:
    """What nodes hold -> clients, their split, support and query sets, Table 1."""
    clients, codebook = f"{benchmark}.clients", f"{benchmark}.codebook"
    entry, records = BENCHMARKS[benchmark], f"{benchmark}.records"
    asked = {ask: [_records_of(benchmark), clients], learn: codebook}
    own = [
        node(bind(function, benchmark=entry), made, benchmark, "federation")
        for function, made in asked.items()
    ]
    prepared = preparation.create_pipeline(benchmark, entry, records).nodes
    others = [n for n in prepared if not {clients, codebook} & {*n.outputs}]
    return remote(benchmark, Pipeline([*own, *others]))


def remote(benchmark: str, graph: Pipeline) -> Pipeline:
    """The same graph, on records that are on nodes."""
    return Pipeline(graph, inputs={f"{benchmark}.records": _records_of(benchmark)})


def _records_of(benchmark: str) -> str:
    return f"{benchmark}.remote_records"
