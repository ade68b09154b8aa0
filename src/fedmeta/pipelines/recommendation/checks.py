"""Options of the blocks that only the study has, checked before any node runs."""

from typing import Any

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.options import check_algorithm, checked
from fedmeta.pipelines.recommendation.methods import FEDERATED

HOME = "recommendation"


def check(parameters: dict[str, Any]) -> None:
    """Refuse options that no function takes.

    Args:
        parameters: All parameters, by benchmark or study and block.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    blocks = parameters[HOME]
    for name, model in blocks["models"].items():
        checked(BENCHMARKS[HOME].model, model, f"{HOME}.models.{name}", whole=False)
    for name, method in FEDERATED.items():
        check_algorithm(HOME, name, method.algorithm, blocks[name])
