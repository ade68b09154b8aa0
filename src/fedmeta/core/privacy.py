"""User-level differential privacy, by the server (McMahan et al. 2018).

Updates are clipped, so that no client changes a round's mean by more than a bound, and
Gaussian noise hides a change of that size (https://arxiv.org/abs/1710.06963). What
epsilon that gives depends on how clients are sampled too: the caller accounts for it.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedmeta.core.trees import tree_leaves, tree_map
from fedmeta.core.types import Algorithm, MetaParams, ServerState, Weighted


def private(
    algorithm: Algorithm,
    *,
    clip: float,
    noise_multiplier: float,
    cohort: int,
    noise: Callable[[int], np.random.Generator],
) -> Algorithm:
    """The algorithm with a mean of clipped updates to which noise is added.

    The sum is divided by the expected size of a cohort, not by that of the round's, and
    all weights are equal: one client more or less changes the mean by at most
    ``clip / cohort``. A round without clients has noise alone.

    Args:
        algorithm: whose mean is replaced.
        clip: greatest L2 norm of an update, over all its tensors together.
        noise_multiplier: standard deviation of the noise on the sum, in clips.
        cohort: expected number of clients in a round.
        noise: the generator of a round's noise.
    """
    deviation = noise_multiplier * clip / cohort

    def aggregate(state: ServerState, updates: Weighted) -> MetaParams:
        total = tree_map(torch.zeros_like, state.meta)
        for _, update in updates:
            add = partial(Tensor.add_, alpha=clip_factor(update, clip))
            tree_map(add, total, update)
        rng = noise(state.round + 1)
        # What is not sent says nothing, and stays. By name: a state from a checkpoint
        # has its tensors in another order.
        for group, leaves in sorted(algorithm.sent(state.meta).items()):
            for name in sorted(leaves):
                leaf = total[group][name]
                drawn = torch.from_numpy(np.asarray(rng.standard_normal(leaf.shape)))
                leaf.div_(cohort).add_(drawn.to(leaf), alpha=deviation)
        return total

    return algorithm._replace(aggregate=aggregate)


def clip_factor(update: MetaParams, clip: float) -> float:
    """By what an update is multiplied to have an L2 norm of at most ``clip``.

    >>> clip_factor({"theta": {"w": torch.tensor([3.0, 4.0])}}, clip=1.0)
    0.2
    """
    norm = math.sqrt(math.fsum(map(_square, tree_leaves(update))))
    return min(1.0, clip / norm) if norm else 1.0


def _square(leaf: Tensor) -> float:
    # By numpy: torch's sums depend on the number of threads in their last bits.
    return float(np.square(leaf.detach().cpu().numpy(), dtype=np.float64).sum())


def noise_to_signal(parameters: int, noise_multiplier: float, cohort: int) -> float:
    """Expected norm of the noise over the greatest norm of the mean of full cohorts."""
    return noise_multiplier * math.sqrt(parameters) / cohort
