"""Options of models and algorithms, checked before any node runs."""

from typing import Any

from torch import Tensor

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.options import build, build_algorithm


def check_factories(parameters: dict[str, Any]) -> None:
    """Build every model and algorithm of the benchmarks, and forget them.

    Args:
        parameters: All parameters, by benchmark and block.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    for benchmark, entry in BENCHMARKS.items():
        blocks = parameters[benchmark]
        build(entry.model, blocks["model"], f"{benchmark}.model")
        for name, algorithm in ALGORITHMS.items():
            shared = blocks[algorithm.trained_as or name]
            try:
                build_algorithm(name, _unused, {**shared, **blocks[name]})
            except ValueError as error:
                raise ValueError(f"{benchmark}.{error}") from None


def _unused(params: Any, batch: Any) -> Tensor:
    raise NotImplementedError  # algorithms call their loss on records only
