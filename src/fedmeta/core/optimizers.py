"""Optimisers as pairs of functions whose state is passed in and handed out.

``update`` may overwrite and return the buffers of ``params`` and ``state``: the caller
gives them away and uses only what comes back (`fresh` makes copies to give). Local
training with Adam is bound by memory traffic, and this is what saves most of it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedmeta.core.trees import leaves_like, tree_clone, tree_map

fresh = tree_clone


class Optimizer(NamedTuple):
    """``init(params) -> state`` and ``update(grads, state, params, active)``.

    ``update`` returns ``(params, state)``. ``active`` [] says whether this step counts:
    a client that was padded to another's number of batches stands still in the surplus
    ones. None: it counts.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any, Tensor | None], tuple[Any, Any]]


def sgd(lr: float) -> Optimizer:
    """Plain gradient descent, without state."""

    def update(grads: Any, state: Any, params: Any, active: Tensor | None = None):
        if active is None:
            return tree_map(lambda p, g: p.sub_(g, alpha=lr), params, grads), state
        return tree_map(lambda p, g: p - lr * active * g, params, grads), state

    return Optimizer(lambda params: {}, update)


def adam(lr: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam (Kingma and Ba 2015) whose moments and step count live in the state."""

    def init(params: Any) -> Any:
        return {
            "mean": tree_map(torch.zeros_like, params),
            "square": tree_map(torch.zeros_like, params),
            # One count a tensor and in float32, as the fused kernel wants it.
            "step": tree_map(
                lambda p: torch.zeros((), dtype=torch.float32, device=p.device), params
            ),
        }

    def fused(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        weights, gradients, means, squares, steps = (
            leaves_like(params, tree)
            for tree in (params, grads, state["mean"], state["square"], state["step"])
        )
        # The kernel pairs numbers by their place in memory, but convolutions may hand
        # out gradients whose dimensions are laid out in another order.
        gradients = [
            g if g.stride() == w.stride() else torch.empty_like(w).copy_(g)
            for g, w in zip(gradients, weights, strict=True)
        ]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            weights,
            gradients,
            means,
            squares,
            [],
            steps,
            lr=lr,
            beta1=b1,
            beta2=b2,
            weight_decay=0.0,
            eps=eps,
            amsgrad=False,
            maximize=False,
        )
        return params, state

    def masked(grads: Any, state: Any, params: Any, active: Tensor) -> tuple[Any, Any]:
        step = tree_map(lambda s: s + active, state["step"])
        keep = lambda new, old: torch.where(active > 0, new, old)  # noqa: E731
        mean = tree_map(
            lambda m, g: keep(m * b1 + g * (1 - b1), m), state["mean"], grads
        )
        square = tree_map(
            lambda s, g: keep(s * b2 + g * g * (1 - b2), s), state["square"], grads
        )
        moved = tree_map(
            lambda p, m, s, t: keep(
                p - lr * (m / _unbias(b1, t)) / ((s / _unbias(b2, t)).sqrt() + eps),
                p,
            ),
            params,
            mean,
            square,
            step,
        )
        return moved, {"mean": mean, "square": square, "step": step}

    def update(grads: Any, state: Any, params: Any, active: Tensor | None = None):
        if active is None:
            return fused(grads, state, params)
        return masked(grads, state, params, active)

    return Optimizer(init, update)


def _unbias(b: float, step: Tensor) -> Tensor:
    """1 - b**step; written so, float32 loses four digits of it where b is .999."""
    return -torch.expm1(step * (math.log(b) if b else -math.inf))


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": sgd, "adam": adam}


def grouped(optimizers: dict[str, Optimizer]) -> Optimizer:
    """One optimiser for each named part of a tree, say theta and alpha."""

    def init(params: dict[str, Any]) -> dict[str, Any]:
        return {name: optimizers[name].init(part) for name, part in params.items()}

    def update(grads: Any, state: Any, params: Any, active: Tensor | None = None):
        moved = {
            # A checkpoint does not keep the state of an optimiser that has none.
            name: optimizers[name].update(
                grads[name], state.get(name, {}), part, active
            )
            for name, part in params.items()
        }
        return {n: p for n, (p, _) in moved.items()}, {
            n: s for n, (_, s) in moved.items()
        }

    return Optimizer(init, update)
