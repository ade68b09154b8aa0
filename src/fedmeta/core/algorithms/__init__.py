"""The table of algorithms: the one place where a name becomes behaviour.

To add one: a factory in a file of this package, a line here, a block in a benchmark's
parameters file. The conformance suite takes it from the table.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

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
]


class Entry(NamedTuple):
    """What the table says of an algorithm."""

    factory: Callable[..., Algorithm]
    label: str  # in tables and figures
    trained_as: str | None = None  # shares the training of another; None: has its own


ALGORITHMS: dict[str, Entry] = {
    "fedavg": Entry(fedavg, "FedAvg"),
    "fedavg_meta": Entry(fedavg, "FedAvg(Meta)", trained_as="fedavg"),
    "maml": Entry(maml, "FedMeta(MAML)"),
    "fomaml": Entry(partial(maml, first_order=True), "FedMeta(FOMAML)"),
    "meta_sgd": Entry(meta_sgd, "FedMeta(Meta-SGD)"),
}
