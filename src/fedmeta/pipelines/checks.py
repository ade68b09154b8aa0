"""Options of models and algorithms, checked before any node runs."""

from typing import Any

from torch import Tensor

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS, options_of
from fedmeta.pipelines.options import build, checked
from fedmeta.pipelines.recommendation.methods import FEDERATED


def check_factories(parameters: dict[str, Any]) -> None:
    """Refuse options of benchmarks, models and algorithms that no function takes.

    Args:
        parameters: All parameters, by benchmark and block.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    for benchmark, entry in BENCHMARKS.items():
        blocks = parameters[benchmark]
        raw = blocks["raw"]
        for factory, options, what, given in (
            (entry.write_sample, raw["sample"] or {}, "raw.sample", 1),
            (entry.parse, raw.get("parse", {}), "raw.parse", 1),
            (entry.select_clients, blocks["selection"], "selection", 1),
            (entry.codebook, blocks["encoding"], "encoding", 2),
        ):
            checked(factory, options, f"{benchmark}.{what}", given)
        if (
            blocks["training"]["resample"]
            and blocks["partition"]["strategy"] == "order"
        ):
            raise ValueError(
                f"{benchmark}: training.resample draws support and query at random, and"
                " partition.strategy 'order' keeps records in order; change one of them"
            )
        # The data decide the rest of its options.
        checked(entry.model, blocks["model"], f"{benchmark}.model", whole=False)
        for name in ALGORITHMS:
            _check_algorithm(benchmark, name, name, options_of(name, blocks))
    check_study(parameters)


def check_study(parameters: dict[str, Any]) -> None:
    """The same for the blocks that only the recommendation study has."""
    home, entry = "recommendation", BENCHMARKS["recommendation"]
    blocks = parameters[home]
    for name, model in blocks["models"].items():
        checked(entry.model, model, f"{home}.models.{name}", whole=False)
    for name, method in FEDERATED.items():
        _check_algorithm(home, name, method.algorithm, blocks[name])


def _check_algorithm(
    benchmark: str, block: str, algorithm: str, options: dict[str, Any]
) -> None:
    build(ALGORITHMS[algorithm].factory, options, f"{benchmark}.{block}", _unused)


def _unused(params: Any, batch: Any) -> Tensor:
    raise NotImplementedError  # algorithms call their loss on records only
