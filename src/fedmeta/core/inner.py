"""The inner loop and the exact gradient through it, written once.

Forward, from w_0 = theta, on batches B_0 .. B_{v-1} of the support set:

    s_j = grad L_{B_j}(w_j);    w_{j+1} = w_j - alpha * s_j

Backward, from v = grad L_Q(w_v), with H_j the Hessian of L_{B_j} at w_j:

    g_alpha += -s_j * v;        v <- v - H_j (alpha * v);       at the end g_theta = v

First order drops H_j. ``alpha`` is a number, or a tree shaped like theta (Meta-SGD).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fedmeta.core.gradients import (
    Loss,
    count,
    gradient_and_hessian,
    gradient_and_loss,
    slices,
)
from fedmeta.core.optimizers import Optimizer, fresh
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Batch, Params

StepSize = float | Params


class Plan(NamedTuple):
    """How the inner loop goes over a support set.

    One epoch over the whole set at once is one gradient step: ``epochs`` is then the
    paper's number of inner steps.
    """

    epochs: int = 1
    batch_size: int | None = None  # None: all records at once

    def batches(self, support: Batch) -> list[Batch]:
        """The batches of all epochs, in order."""
        return list(slices(support, self.batch_size)) * self.epochs


def _step(params: Params, slopes: Params, alpha: StepSize) -> Params:
    if isinstance(alpha, dict):
        return tree_map(
            lambda p, s, a: torch.addcmul(p, a, s, value=-1), params, slopes, alpha
        )
    return tree_map(lambda p, s: torch.add(p, s, alpha=-alpha), params, slopes)


def _minus_curvature(
    vector: Params, product: Callable[[Params], Params], alpha: StepSize
) -> Params:
    """v - H (alpha * v), in the memory of v: a pass less over the whole model."""
    if isinstance(alpha, dict):
        curved = product(tree_map(torch.mul, vector, alpha))
        return tree_map(Tensor.sub_, vector, curved)
    curved = product(vector)
    return tree_map(lambda v, c: v.sub_(c, alpha=alpha), vector, curved)


def descend(
    loss: Loss,
    theta: Params,
    batches: Sequence[Batch],
    alpha: StepSize,
    chunk: int | None = None,
) -> Params:
    """Parameters after one gradient step of size ``alpha`` on each of ``batches``."""
    for batch in batches:
        slopes, _ = gradient_and_loss(loss, theta, batch, chunk)
        theta = _step(theta, slopes, alpha)
    return theta


def train(
    loss: Loss,
    theta: Params,
    batches: Sequence[Batch],
    optimizer: Optimizer,
    chunk: int | None = None,
) -> tuple[Params, Tensor]:
    """Parameters after one step of a fresh ``optimizer`` on each of ``batches``.

    Also the sum and the number of examples of the losses met on the way, [2].
    """
    theta = fresh(theta)
    state = optimizer.init(theta)
    seen = 0.0
    for batch in batches:
        gradient, value = gradient_and_loss(loss, theta, batch, chunk)
        active = None if batch.mask is None else (count(batch) > 0).to(value.dtype)
        theta, state = optimizer.update(gradient, state, theta, active)
        size = value.new_ones(()) * count(batch)
        seen = seen + torch.stack([value * size, size])
    return theta, seen


class MetaGradient(NamedTuple):
    """Gradient of the query loss after adaptation."""

    theta: Params
    alpha: Params | None  # with respect to the step sizes, where these are a tree
    query_loss: Tensor  # [] after adaptation


def meta_gradient(
    loss: Loss,
    theta: Params,
    batches: Sequence[Batch],
    query: Batch,
    alpha: StepSize,
    *,
    first_order: bool = False,
    chunk: int | None = None,
) -> MetaGradient:
    """Exact (or first-order) gradient of ``loss(descend(theta), query)``.

    Args:
        loss: mean loss of a batch.
        theta: initialisation.
        batches: support batches, one inner step each.
        query: what the adapted parameters are judged on.
        alpha: inner step size; a tree is differentiated too.
        first_order: take the inner gradients for constants.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    learns_alpha = isinstance(alpha, dict)
    tape: list[tuple[Params, Callable[[Params], Params] | None]] = []
    adapted = theta
    for batch in batches:
        if first_order:
            slopes, product = gradient_and_loss(loss, adapted, batch, chunk)[0], None
        else:
            slopes, product = gradient_and_hessian(loss, adapted, batch, chunk)
        adapted = _step(adapted, slopes, alpha)
        # The slopes are needed on the way back for alpha's gradient alone.
        tape.append((slopes if learns_alpha else {}, product))

    vector, value = gradient_and_loss(loss, adapted, query, chunk)
    alpha_gradient: Params | None = None
    while tape:  # popping frees each step's graph as soon as it has been used
        slopes, product = tape.pop()
        if learns_alpha:
            part = tree_map(lambda s, v: torch.mul(s, v).neg_(), slopes, vector)
            alpha_gradient = (
                part
                if alpha_gradient is None
                else tree_map(Tensor.add_, alpha_gradient, part)
            )
        if product is not None:
            vector = _minus_curvature(vector, product, alpha)
    return MetaGradient(vector, alpha_gradient, value)
