"""Optimisers as pairs of functions whose state is passed in and handed out.

``update`` may overwrite and return the buffers of ``params`` and ``state``: the caller
gives them away (or a `tree_clone`) and uses only what comes back. Local training with
Adam is bound by memory traffic, and this is what saves most of it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedmeta.core.bounds import Decay, Rate
from fedmeta.core.trees import leaves_like, tree_map

Active = Tensor | None
Moved = tuple[Any, Any]  # parameters, state
Round = int | Tensor  # the number of a round, from 1


class Optimizer(NamedTuple):
    """Three functions, of which `update` makes a step."""

    init: Callable[[Any], Any]  # params -> state
    # (grads, state, params, active, learning rate) -> (params, state)
    step: Callable[[Any, Any, Any, Active, Any], Moved]
    rate: Callable[[Round], Any]  # the number of a round, from 1 -> learning rate

    def update(
        self,
        grads: Any,
        state: Any,
        params: Any,
        active: Active = None,
        number: Round = 1,
    ) -> Moved:
        """Parameters and state after a step.

        Args:
            grads: gradients.
            state: before the step.
            params: before the step.
            active: [] whether this step counts: a client that was padded to another's
                number of batches stands still in the surplus ones. None: it counts.
            number: the round that the step is taken in: a rate that decays is the same
                for all local steps of a round.
        """
        return self.step(grads, state, params, active, self.rate(number))


def decaying(lr: Rate, half_life: Rate | None) -> Callable[[Round], float | Tensor]:
    """Learning rate of a round: ``lr * 0.5 ** ((round - 1) / half_life)``.

    It depends on no total number of rounds, so that a training can be continued.

    Args:
        lr: rate of the first round.
        half_life: rounds after which the rate is halved; None: it is constant.

    >>> decaying(0.1, half_life=100)(201)
    0.025
    """
    if half_life is None:
        return lambda number: lr
    return lambda number: lr * 0.5 ** ((number - 1) / half_life)


def sgd(lr: Rate, half_life: Rate | None = None) -> Optimizer:
    """Plain gradient descent, without state."""

    def step(grads: Any, state: Any, params: Any, active: Active, lr: Any) -> Moved:
        if active is None:
            alpha = float(lr)
            return tree_map(lambda p, g: p.sub_(g, alpha=alpha), params, grads), state
        return tree_map(lambda p, g: p - lr * active * g, params, grads), state

    return Optimizer(lambda params: {}, step, decaying(lr, half_life))


def adam(
    lr: Rate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: Rate = 1e-8,
    half_life: Rate | None = None,
) -> Optimizer:
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

    def fused(grads: Any, state: Any, params: Any, lr: float) -> Moved:
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

    def masked(
        grads: Any, state: Any, params: Any, active: Tensor, lr: float | Tensor
    ) -> Moved:
        mean = tree_map(lambda m, g: m * b1 + g * (1 - b1), state["mean"], grads)
        square = tree_map(
            lambda s, g: s * b2 + g * g * (1 - b2), state["square"], grads
        )
        step = tree_map(lambda s: s + active, state["step"])
        moved = tree_map(
            lambda p, m, s, t: (
                p - lr * (m / _unbias(b1, t)) / ((s / _unbias(b2, t)).sqrt() + eps)
            ),
            params,
            mean,
            square,
            step,
        )
        after = {"mean": mean, "square": square, "step": step}
        return _where(active, moved, params), _where(active, after, state)

    def step(grads: Any, state: Any, params: Any, active: Active, lr: Any) -> Moved:
        if active is None:
            return fused(grads, state, params, float(lr))
        return masked(grads, state, params, active, lr)

    return Optimizer(init, step, decaying(lr, half_life))


def _unbias(b: float, step: Tensor) -> Tensor:
    """1 - b**step; written so, float32 loses four digits of it where b is .999."""
    return -torch.expm1(step * (math.log(b) if b else -math.inf))


def momentum(
    lr: Rate, momentum: Decay = 0.9, half_life: Rate | None = None
) -> Optimizer:
    """Gradient descent along a velocity v <- momentum * v + gradient (heavy ball).

    On the server it makes FedAvg FedAvgM (Hsu et al. 2019, arXiv 1909.06335).
    """

    def init(params: Any) -> Any:
        return {"velocity": tree_map(torch.zeros_like, params)}

    def step(grads: Any, state: Any, params: Any, active: Active, lr: Any) -> Moved:
        velocity = tree_map(lambda v, g: momentum * v + g, state["velocity"], grads)
        velocity = _where(active, velocity, state["velocity"])
        moved = tree_map(lambda p, v: p - lr * v, params, velocity)
        return _where(active, moved, params), {"velocity": velocity}

    return Optimizer(init, step, decaying(lr, half_life))


# (v, g², b2) -> the next v, which the step is divided by the root of
SecondMoment = Callable[[Tensor, Tensor, float], Tensor]


def adaptive(
    second: SecondMoment,
    lr: Rate,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    tau: Rate = 1e-3,
    half_life: Rate | None = None,
) -> Optimizer:
    """The adaptive server optimisers of Reddi et al. 2021 (arXiv 2003.00295, alg. 2).

    Unlike `adam` they do not correct the moments' bias, and v starts at tau².

    Args:
        second: how squares of the gradient are gathered, which tells them apart.
        lr: step size, the paper's eta.
        b1: share of the old first moment.
        b2: share of the old second moment; FedAdagrad has none.
        tau: added to the root of the second moment: the degree of adaptivity.
        half_life: rounds after which the step size is halved; None: it is constant.
    """

    def init(params: Any) -> Any:
        return {
            "mean": tree_map(torch.zeros_like, params),
            "square": tree_map(lambda p: torch.full_like(p, tau**2), params),
        }

    def step(grads: Any, state: Any, params: Any, active: Active, lr: Any) -> Moved:
        mean = tree_map(lambda m, g: b1 * m + (1 - b1) * g, state["mean"], grads)
        square = tree_map(lambda v, g: second(v, g * g, b2), state["square"], grads)
        moved = tree_map(
            lambda p, m, v: p - lr * m / (v.sqrt() + tau), params, mean, square
        )
        after = {"mean": mean, "square": square}
        return _where(active, moved, params), _where(active, after, state)

    return Optimizer(init, step, decaying(lr, half_life))


def _where(active: Active, new: Any, old: Any) -> Any:
    if active is None:
        return new
    return tree_map(lambda n, o: torch.where(active > 0, n, o), new, old)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
    "fedadagrad": partial(adaptive, lambda v, square, b2: v + square),
    "fedadam": partial(adaptive, lambda v, square, b2: b2 * v + (1 - b2) * square),
    "fedyogi": partial(
        adaptive, lambda v, square, b2: v - (1 - b2) * square * (v - square).sign()
    ),
}


def with_proximal_term(anchor: Any, strength: float, optimizer: Optimizer) -> Optimizer:
    """``optimizer`` on gradients to which ``strength * (params - anchor)`` is added.

    That is the gradient of FedProx's proximal term (Li et al. 2020, arXiv 1812.06127,
    eq. 2).
    """

    def step(grads: Any, state: Any, params: Any, *when: Any) -> Moved:
        grads = tree_map(lambda g, p, a: g + strength * (p - a), grads, params, anchor)
        return optimizer.step(grads, state, params, *when)

    return optimizer._replace(step=step)


def with_correction(correction: Any, optimizer: Optimizer) -> Optimizer:
    """``optimizer`` on gradients to which ``correction`` is added.

    With the difference of control variates, those of SCAFFOLD (Karimireddy et al. 2020,
    arXiv 1910.06378, eq. 3).
    """

    def step(grads: Any, *rest: Any) -> Moved:
        return optimizer.step(tree_map(torch.add, grads, correction), *rest)

    return optimizer._replace(step=step)


def grouped(optimizers: dict[str, Optimizer]) -> Optimizer:
    """One optimiser for each named part of a tree, say theta and alpha."""

    def init(params: dict[str, Any]) -> dict[str, Any]:
        return {name: optimizers[name].init(part) for name, part in params.items()}

    def step(grads: Any, state: Any, params: Any, active: Active, number: Any) -> Moved:
        moved = {
            # A checkpoint does not keep the state of an optimiser that has none.
            name: optimizers[name].update(
                grads[name], state.get(name, {}), part, active, number
            )
            for name, part in params.items()
        }
        return {n: p for n, (p, _) in moved.items()}, {
            n: s for n, (_, s) in moved.items()
        }

    return Optimizer(init, step, lambda number: number)  # each has a rate of its own
