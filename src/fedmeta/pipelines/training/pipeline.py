"""The graph of one training."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.training.nodes import train


def trained_with(algorithm: str) -> list[str]:
    """The algorithms that one training serves, the trained one first."""
    sharing = [n for n, entry in ALGORITHMS.items() if entry.trained_as == algorithm]
    return [algorithm, *sharing]


def data_inputs(benchmark: str) -> dict[str, str]:
    """What training and evaluation need to know of the data, by argument name."""
    return {
        "records": f"{benchmark}.records",
        "clients": f"{benchmark}.clients",
        "client_split": f"{benchmark}.client_split",
        "support_query": f"{benchmark}.support_query",
        "codebook": f"{benchmark}.codebook",
        "training": f"params:{benchmark}.training",
        "model": f"params:{benchmark}.model",
    }


def create_pipeline(benchmark: str, algorithm: str) -> Pipeline:
    """Tasks of the training clients -> checkpoint; a history of each algorithm."""
    names = trained_with(algorithm)
    home = f"{benchmark}.{algorithm}"
    return Pipeline(
        [
            Node(
                bind(train, benchmark=BENCHMARKS[benchmark], names=names),
                {
                    **data_inputs(benchmark),
                    "earlier": f"{home}.earlier_checkpoints",
                    **{name: f"params:{benchmark}.{name}" for name in names},
                },
                [f"{home}.checkpoint", *(f"{benchmark}.{n}.history" for n in names)],
                name=f"train_{benchmark}",
                namespace=algorithm,
            )
        ]
    )
