"""The graph of one evaluation."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.training.pipeline import option_inputs, trained_with


def create_pipeline(benchmark: str, algorithm: str) -> Pipeline:
    """A checkpoint and the test clients -> scores, a row a client."""
    trained = ALGORITHMS[algorithm].trained_as or algorithm
    names, entry = trained_with(trained), BENCHMARKS[benchmark]
    scored = node(
        bind(evaluate, benchmark=entry, names=names, name=algorithm),
        f"{benchmark}.{algorithm}.scores",
        benchmark,
        algorithm,
        {
            "checkpoint": f"{benchmark}.{trained}.checkpoint",
            **option_inputs(benchmark, names),
        },
    )
    return Pipeline([scored])
