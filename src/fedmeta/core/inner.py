"""The inner loop and the exact gradient through it, written once.

Forward, from w_0 = theta, on batches B_0 .. B_{v-1} of the support set:

    s_j = grad L_{B_j}(w_j);    w_{j+1} = w_j - alpha * s_j

Backward, from v = grad L_Q(w_v), with H_j the Hessian of L_{B_j} at w_j:

    g_alpha += -s_j * v;        v <- v - H_j (alpha * v);       at the end g_theta = v

``alpha`` is a number, or a tree shaped like theta (Meta-SGD, ANIL). What is taken for
H_j, and of how many steps, is said by `Hessians`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fedmeta.core.bounds import Count, Number, Rate
from fedmeta.core.gradients import (
    Loss,
    count,
    counts,
    gradient_and_hessian,
    gradient_and_loss,
    hessian_product,
    slices,
)
from fedmeta.core.optimizers import Optimizer, Round
from fedmeta.core.trees import tree_clone, tree_map
from fedmeta.core.types import Batch, Params

StepSize = float | Params


class Plan(NamedTuple):
    """How the inner loop goes over a support set.

    One epoch over the whole set at once is one gradient step: ``epochs`` is then the
    paper's number of inner steps.
    """

    epochs: Count = 1
    batch_size: Count | None = None  # None: all records at once

    def batches(self, support: Batch) -> list[Batch]:
        """The batches of all epochs, in order."""
        return list(slices(support, self.batch_size)) * self.epochs

    def sizes(self, support: int) -> list[int]:
        """Number of records in each of these batches, given the support set's."""
        size = self.batch_size or support
        return [min(size, support - i) for i in range(0, support, size)] * self.epochs


class Hessians(NamedTuple):
    """What the way back through the inner loop takes for the Hessians of its steps.

    Exact ones of all steps by default. The approximations can be combined.
    """

    # Those of the last so many steps alone: truncated. 0: first order; None: all.
    last: Number | None = None
    # Central differences of two gradients so far apart, in units of the vector that
    # the Hessian is multiplied with (Fallah et al. 2020: "Hessian-free"). None: exact.
    difference: Rate | None = None


FIRST_ORDER = Hessians(last=0)


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


def steps(
    loss: Loss,
    theta: Params,
    batches: Sequence[Batch],
    optimizer: Optimizer,
    chunk: int | None = None,
    number: Round = 1,
) -> Iterator[tuple[Params, Tensor]]:
    """Yield the parameters before and after each step of a fresh ``optimizer``.

    A step on each of ``batches``, at the rate of round ``number``. The next step may
    reuse the memory of parameters that were yielded. Beside them the sum and the number
    of examples of the losses met so far, [2].
    """
    theta = tree_clone(theta)
    state = optimizer.init(theta)
    seen = torch.zeros(())
    yield theta, seen
    for batch in batches:
        gradient, value = gradient_and_loss(loss, theta, batch, chunk)
        theta, state = optimizer.update(gradient, state, theta, counts(batch), number)
        size = value.new_ones(()) * count(batch)
        seen = seen + torch.stack([value * size, size])
        yield theta, seen


def train(
    loss: Loss,
    theta: Params,
    batches: Sequence[Batch],
    optimizer: Optimizer,
    chunk: int | None = None,
    number: Round = 1,
) -> tuple[Params, Tensor]:
    """The last of `steps`: parameters, and what the losses on the way were."""
    for last in steps(loss, theta, batches, optimizer, chunk, number):
        pass
    return last


class MetaGradient(NamedTuple):
    """Gradient of the query loss after adaptation."""

    theta: Params
    alpha: Params | None  # with respect to the step sizes, where these are learned
    query_loss: Tensor  # [] after adaptation


def meta_gradient(
    loss: Loss,
    theta: Params,
    batches: Sequence[Batch],
    query: Batch,
    alpha: StepSize,
    *,
    hessians: Hessians = Hessians(),
    curvature: Sequence[Batch] | None = None,
    learn_alpha: bool = False,
    chunk: int | None = None,
) -> MetaGradient:
    """Gradient of ``loss(descend(theta), query)``: exact, or approximated.

    Args:
        loss: mean loss of a batch.
        theta: initialisation.
        batches: support batches, one inner step each.
        query: what the adapted parameters are judged on.
        alpha: inner step size.
        hessians: how those of the inner steps are taken.
        curvature: batches that they are taken on, one a step; None: ``batches``.
        learn_alpha: differentiate with respect to ``alpha``, a tree, too.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    kept = len(batches) if hessians.last is None else hessians.last
    tape: list[tuple[Params, Callable[[Params], Params] | None]] = []
    adapted = theta
    for number, batch in enumerate(batches):
        product = None
        if number < len(batches) - kept:  # the Hessian is not asked for
            slopes, _ = gradient_and_loss(loss, adapted, batch, chunk)
        elif curvature is None and hessians.difference is None:
            slopes, product = gradient_and_hessian(loss, adapted, batch, chunk)
        else:
            slopes, _ = gradient_and_loss(loss, adapted, batch, chunk)
            seen = batch if curvature is None else curvature[number]
            product = _product(loss, adapted, seen, hessians.difference, chunk)
        adapted = _step(adapted, slopes, alpha)
        # The slopes are needed on the way back for alpha's gradient alone.
        tape.append((slopes if learn_alpha else {}, product))

    vector, value = gradient_and_loss(loss, adapted, query, chunk)
    alpha_gradient: Params | None = None
    while tape:  # popping frees each step's graph as soon as it has been used
        slopes, product = tape.pop()
        if learn_alpha:
            part = tree_map(lambda s, v: torch.mul(s, v).neg_(), slopes, vector)
            alpha_gradient = (
                part
                if alpha_gradient is None
                else tree_map(Tensor.add_, alpha_gradient, part)
            )
        if product is not None:
            vector = _minus_curvature(vector, product, alpha)
    return MetaGradient(vector, alpha_gradient, value)


def _product(
    loss: Loss,
    params: Params,
    batch: Batch,
    difference: float | None,
    chunk: int | None,
) -> Callable[[Params], Params]:
    """``v -> H v`` of a batch that the step itself was not made from."""
    if difference is None:
        return hessian_product(loss, params, batch, chunk)
    width = difference

    def by_difference(vector: Params) -> Params:
        above, below = (
            gradient_and_loss(loss, _step(params, vector, -step), batch, chunk)[0]
            for step in (width, -width)
        )
        return tree_map(lambda a, b: (a - b) / (2 * width), above, below)

    return by_difference
