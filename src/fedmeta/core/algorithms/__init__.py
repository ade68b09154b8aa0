"""The table of algorithms: the one place where a name becomes behaviour.

To add one: a factory in a file of this package, a line here, a block in
`conf/base/parameters_defaults.yml`, and settings in the conformance suite.
"""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

from fedmeta.core.algorithms.anil import anil
from fedmeta.core.algorithms.fedavg import FineTuning, fedavg
from fedmeta.core.algorithms.fedper import fedper
from fedmeta.core.algorithms.knn_per import knn_per
from fedmeta.core.algorithms.local import local_training
from fedmeta.core.algorithms.maml import LocalSteps, maml, meta_sgd
from fedmeta.core.algorithms.nu_step import nu_step
from fedmeta.core.algorithms.reptile import reptile
from fedmeta.core.algorithms.scaffold import scaffold
from fedmeta.core.types import Algorithm

__all__ = [
    "ALGORITHMS",
    "Entry",
    "FineTuning",
    "LocalSteps",
    "anil",
    "blocks_of",
    "fedavg",
    "fedper",
    "knn_per",
    "local_training",
    "maml",
    "meta_sgd",
    "nu_step",
    "options_of",
    "reptile",
    "scaffold",
    "taken_by",
]


class Entry(NamedTuple):
    """What the table says of an algorithm."""

    factory: Callable[..., Algorithm]
    label: str  # in tables and figures
    like: str | None = None  # its options are those of another, but for its own block
    trained_as: str | None = None  # shares the training of another; None: has its own
    after: str | None = None  # starts from what another has learned; None: from noise


def blocks_of(name: str) -> list[str]:
    """The blocks that an algorithm's options are made from, its own last."""
    entry = ALGORITHMS[name]
    below = entry.trained_as or entry.like
    return [*(blocks_of(below) if below else []), name]


def options_of(name: str, blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """An algorithm's options: its block, over those of the ones that it is like.

    Args:
        name: in `ALGORITHMS`.
        blocks: options by the algorithm's name.
    """
    return {k: v for n in blocks_of(name) for k, v in blocks.get(n, {}).items()}


def taken_by(name: str) -> set[str]:
    """Names of the options that an algorithm's factory takes."""
    return set(signature(ALGORITHMS[name].factory).parameters)


ALGORITHMS: dict[str, Entry] = {
    "fedavg": Entry(fedavg, "FedAvg"),
    "fedavg_meta": Entry(fedavg, "FedAvg(Meta)", trained_as="fedavg"),
    "maml": Entry(maml, "FedMeta(MAML)"),
    "fomaml": Entry(partial(maml, first_order=True), "FedMeta(FOMAML)"),
    "meta_sgd": Entry(meta_sgd, "FedMeta(Meta-SGD)"),
    "anil": Entry(anil, "FedMeta(ANIL)", like="maml"),
    "per_fedavg": Entry(partial(nu_step, steps=1), "Per-FedAvg"),
    "nu_step": Entry(nu_step, "ν-step Meta-FL", like="per_fedavg"),
    "reptile": Entry(reptile, "Reptile"),
    "fedprox": Entry(fedavg, "FedProx", like="fedavg"),
    "fedavgm": Entry(fedavg, "FedAvgM", like="fedavg"),
    "fedadagrad": Entry(fedavg, "FedAdagrad", like="fedavg"),
    "fedadam": Entry(fedavg, "FedAdam", like="fedavg"),
    "fedyogi": Entry(fedavg, "FedYogi", like="fedavg"),
    "fedavgm_reptile": Entry(
        reptile, "FedAvgM, then Reptile", like="reptile", after="fedavgm"
    ),
    "local": Entry(local_training, "Local training"),
    "fedbabu": Entry(fedavg, "FedBABU", like="fedavg"),
    "knn_per": Entry(knn_per, "kNN-Per", after="fedavg"),
    "ditto": Entry(local_training, "Ditto", after="fedavg"),
    "fedper": Entry(fedper, "FedPer"),
    "fedrep": Entry(fedper, "FedRep", like="fedper"),
    "scaffold": Entry(scaffold, "SCAFFOLD"),
}
