"""The graph of one training."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS, blocks_of
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.training.nodes import train


def trained_with(algorithm: str) -> list[str]:
    """The algorithms that one training serves, the trained one first."""
    sharing = [n for n, entry in ALGORITHMS.items() if entry.trained_as == algorithm]
    return [algorithm, *sharing]


def option_inputs(benchmark: str, names: list[str]) -> dict[str, str]:
    """The blocks of parameters that the options of some algorithms are made from."""
    blocks = {block for name in names for block in blocks_of(name)}
    return {block: f"params:{benchmark}.{block}" for block in sorted(blocks)}


def training_outputs(home: str, *watched: str) -> list[str]:
    """The datasets that `train` writes.

    Args:
        home: under which name the checkpoint is.
        watched: under which names curves are, each of one algorithm.
    """
    kinds = ("history", "validation_scores")
    curves = [f"{name}.{kind}" for kind in kinds for name in watched]
    return [f"{home}.checkpoint", *curves]


def create_pipeline(benchmark: str, algorithm: str) -> Pipeline:
    """Tasks of the training clients -> checkpoint; what is seen of each algorithm.

    With the training that it starts from, if there is one.
    """
    names, before = trained_with(algorithm), ALGORITHMS[algorithm].after
    home = f"{benchmark}.{algorithm}"
    trained = node(
        bind(train, benchmark=BENCHMARKS[benchmark], names=names),
        training_outputs(home, *(f"{benchmark}.{name}" for name in names)),
        benchmark,
        algorithm,
        {
            **({"start": f"{benchmark}.{before}.checkpoint"} if before else {}),
            "earlier": f"{home}.earlier_checkpoints",
            **option_inputs(benchmark, names),
        },
    )
    earlier = create_pipeline(benchmark, before) if before else Pipeline([])
    return earlier + Pipeline([trained])
