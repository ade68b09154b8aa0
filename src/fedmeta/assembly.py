"""A model with algorithms, from their options: what clients compute, wherever they are.

No framework is needed for that, so that a node of a federation builds the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fedmeta.core.algorithms import options_of, taken_by
from fedmeta.core.model import Model
from fedmeta.core.types import Algorithm
from fedmeta.options import build, build_algorithm


class Assembled(NamedTuple):
    """A model, and algorithms for it by name."""

    model: Model
    algorithms: dict[str, Algorithm]


def assemble(
    factory: Callable[..., Model],
    model: Mapping[str, Any],
    names: Sequence[str],
    blocks: Mapping[str, Mapping[str, Any]],
    chunk: int,
    population: int | None = None,
) -> Assembled:
    """Build a model and algorithms.

    Args:
        factory: of the model; what the data decide is fixed.
        model: its options.
        names: of the algorithms.
        blocks: options by the name of the block, of all that they are made from.
        chunk: records differentiated at once: bounds memory.
        population: number of training clients, for algorithms that ask for it; None:
            nothing is trained here.

    Raises:
        ValueError: for an unknown option, a missing one, or a wrong type.
    """
    network = build(factory, dict(model), "model")
    common = {"chunk": chunk, "population": population}
    algorithms = {
        name: build_algorithm(
            name,
            network.loss,
            {
                **{key: common[key] for key in common.keys() & taken_by(name)},
                **options_of(name, blocks),
            },
        )
        for name in names
    }
    return Assembled(network, algorithms)
