"""The graph of one evaluation."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.training.pipeline import (
    data_inputs,
    option_inputs,
    trained_with,
)


def create_pipeline(benchmark: str, algorithm: str) -> Pipeline:
    """A checkpoint and the test clients -> scores, a row a client."""
    trained = ALGORITHMS[algorithm].trained_as or algorithm
    names = trained_with(trained)
    home = f"{benchmark}.{algorithm}"
    return Pipeline(
        [
            Node(
                bind(
                    evaluate,
                    benchmark=BENCHMARKS[benchmark],
                    names=names,
                    name=algorithm,
                ),
                {
                    **data_inputs(benchmark),
                    "checkpoint": f"{benchmark}.{trained}.checkpoint",
                    **option_inputs(benchmark, names),
                },
                f"{home}.scores",
                name=f"evaluate_{benchmark}",
                namespace=algorithm,
            )
        ]
    )
