"""The table of algorithms: the one place where a name becomes behaviour.

To add one: a factory in a file of this package, a line here, a block in a benchmark's
parameters file. The conformance suite takes it from the table.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from fedmeta.core.algorithms.fedavg import FineTuning, fedavg
from fedmeta.core.algorithms.maml import LocalSteps, maml, meta_sgd
from fedmeta.core.types import Algorithm

__all__ = [
    "ALGORITHMS",
    "Entry",
    "FineTuning",
    "LocalSteps",
    "fedavg",
    "maml",
    "meta_sgd",
    "options_of",
]


class Entry(NamedTuple):
    """What the table says of an algorithm."""

    factory: Callable[..., Algorithm]
    label: str  # in tables and figures
    trained_as: str | None = None  # shares the training of another; None: has its own


def options_of(name: str, blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """An algorithm's options: its block, over that of the one it is trained as.

    Args:
        name: in `ALGORITHMS`.
        blocks: options by the algorithm's name.
    """
    shared = ALGORITHMS[name].trained_as or name
    return {**blocks[shared], **blocks[name]}


ALGORITHMS: dict[str, Entry] = {
    "fedavg": Entry(fedavg, "FedAvg"),
    "fedavg_meta": Entry(fedavg, "FedAvg(Meta)", trained_as="fedavg"),
    "maml": Entry(maml, "FedMeta(MAML)"),
    "fomaml": Entry(partial(maml, first_order=True), "FedMeta(FOMAML)"),
    "meta_sgd": Entry(meta_sgd, "FedMeta(Meta-SGD)"),
}
