"""FedMeta with MAML, first-order MAML and Meta-SGD (Chen et al., Algorithm 1)."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fedmeta.core.algorithms.common import applied_by, theta_only, weight_of
from fedmeta.core.bounds import Count, Rate, Weight
from fedmeta.core.gradients import Loss, count, counts, recomputed, slices
from fedmeta.core.inner import (
    FIRST_ORDER,
    Hessians,
    MetaGradient,
    Plan,
    StepSize,
    descend,
    meta_gradient,
)
from fedmeta.core.optimizers import Optimizer, grouped
from fedmeta.core.trees import tree_clone, tree_map, tree_sub
from fedmeta.core.types import (
    Algorithm,
    Batch,
    ClientOutput,
    MetaParams,
    Params,
    ServerState,
    Task,
    Work,
)

GradientOfQueryLoss = Callable[[MetaParams, Batch, Batch], MetaGradient]


class LocalSteps(NamedTuple):
    """Meta-steps that a client takes on its own copy of the meta-parameters.

    One epoch over pairs of a support and a query batch, with a fresh optimiser: the
    reading of the paper's appendix in which "local models are averaged".
    """

    optimizer: Optimizer
    support_size: Count
    query_size: Count

    def pairs(self, task: Task) -> Iterator[tuple[Batch, Batch]]:
        """Pairs of a support and a query batch, as many as both sets have."""
        supports = slices(task.support, self.support_size)
        return zip(supports, slices(task.query, self.query_size), strict=False)

    def used(self, support: int, query: int) -> tuple[int, int]:
        """Number of records used, given the set sizes."""
        pairs = min(
            math.ceil(support / self.support_size), math.ceil(query / self.query_size)
        )
        return min(support, pairs * self.support_size), min(
            query, pairs * self.query_size
        )


def maml(
    loss: Loss,
    *,
    inner_lr: Rate,
    plan: Plan = Plan(),
    adapt_plan: Plan | None = None,
    server: Optimizer,
    local: LocalSteps | None = None,
    first_order: bool = False,
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """Learn the initialisation from which SGD on a support set does best.

    Args:
        loss: mean loss of a batch.
        inner_lr: alpha, the size of an inner step.
        plan: epochs and batch size of the inner loop.
        adapt_plan: those of adapting to an evaluated client; None: ``plan``.
        server: optimiser of the outer step, applied to the clients' mean update.
        local: None: a client sends its meta-gradient (Algorithm 1). Otherwise it takes
            these meta-steps and sends how far they moved its meta-parameters.
        first_order: FOMAML, which takes the inner gradients for constants.
        weights: a client's share in the mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """

    return learner(
        loss,
        theta_only(server),
        lambda meta: inner_lr,
        applied_by(server),
        plan=plan,
        adapt_plan=adapt_plan or plan,
        local=local,
        first_order=first_order,
        weights=weights,
        chunk=chunk,
    )


def meta_sgd(
    loss: Loss,
    *,
    alpha_init: Weight | tuple[Weight, Weight],
    alpha_range: tuple[float, float] | None = None,
    plan: Plan = Plan(),
    adapt_plan: Plan | None = None,
    server: Optimizer,
    alpha_server: Optimizer | None = None,
    local: LocalSteps | None = None,
    first_order: bool = False,
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """Learn the initialisation and the step size of each number (Li et al. 2017).

    Args:
        loss: mean loss of a batch.
        alpha_init: first value of every step size, or the two ends of the uniform
            distribution that they are drawn from.
        alpha_range: the server keeps step sizes within; None: they are free, and a
            negative one means that it pays to climb.
        plan: epochs and batch size of the inner loop.
        adapt_plan: as for `maml`.
        server: optimiser of the outer step on theta, and on alpha unless that has one.
        alpha_server: optimiser of the outer step on alpha.
        local: as for `maml`.
        first_order: take the inner gradients for constants.
        weights: a client's share in the mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """

    for name, ends in (("alpha_init", alpha_init), ("alpha_range", alpha_range)):
        if isinstance(ends, tuple) and not ends[0] <= ends[1]:
            raise ValueError(f"{name} {list(ends)}: expected the lower end first")
    if alpha_server is not None:
        server = grouped({"theta": server, "alpha": alpha_server})

    def init(theta: Params) -> ServerState:
        meta = {"theta": theta, "alpha": tree_map(_first_alpha(alpha_init), theta)}
        return ServerState(meta, server.init(meta), 0)

    step = applied_by(server)

    def server_update(state: ServerState, update: MetaParams) -> ServerState:
        state = step(state, update)
        if alpha_range is not None:
            tree_map(lambda a: a.clamp_(*alpha_range), state.meta["alpha"])
        return state

    return learner(
        loss,
        init,
        lambda meta: meta["alpha"],
        server_update,
        plan=plan,
        adapt_plan=adapt_plan or plan,
        local=local,
        first_order=first_order,
        weights=weights,
        chunk=chunk,
        learn_alpha=True,
    )


def learner(
    loss: Loss,
    init: Callable[[Params], ServerState],
    step_size: Callable[[MetaParams], StepSize],
    server_update: Callable[[ServerState, MetaParams], ServerState],
    *,
    plan: Plan,
    adapt_plan: Plan,
    local: LocalSteps | None,
    first_order: bool,
    weights: str,
    chunk: int | None,
    learn_alpha: bool = False,
) -> Algorithm:
    """What learners of an initialisation have in common: all but their step sizes."""

    def adapt(meta: MetaParams, support: Batch) -> Params:
        batches = adapt_plan.batches(support)
        return descend(loss, meta["theta"], batches, step_size(meta), chunk)

    def gradient(meta: MetaParams, support: Batch, query: Batch) -> MetaGradient:
        return meta_gradient(
            loss,
            meta["theta"],
            plan.batches(support),
            query,
            step_size(meta),
            hessians=FIRST_ORDER if first_order else Hessians(),
            learn_alpha=learn_alpha,
            chunk=chunk,
        )

    return Algorithm(
        init=init,
        adapt=adapt,
        client_update=_client_update(gradient, local, weights),
        server_update=server_update,
        work=_work(plan, first_order, local, chunk),
    )


def _client_update(
    gradient: GradientOfQueryLoss, local: LocalSteps | None, weights: str
) -> Callable[[MetaParams, Task], ClientOutput]:
    weight = weight_of(weights)
    if local is not None:
        return _local_update(gradient, local, weight)

    def send_gradient(meta: MetaParams, task: Task) -> ClientOutput:
        result = gradient(meta, task.support, task.query)
        seen = _loss_seen(result, task.query)
        return ClientOutput(_as_update(result), weight(task), {"loss": seen})

    return send_gradient


def _local_update(
    gradient: GradientOfQueryLoss, local: LocalSteps, weight: Callable[[Task], Tensor]
) -> Callable[[MetaParams, Task], ClientOutput]:
    def send_model(meta: MetaParams, task: Task) -> ClientOutput:
        moved = tree_clone(meta)
        state = local.optimizer.init(moved)
        seen = torch.zeros(())
        for support, query in local.pairs(task):
            result = gradient(moved, support, query)
            active = counts(support, query)
            moved, state = local.optimizer.update(
                _as_update(result), state, moved, active, task.round
            )
            part = _loss_seen(result, query)
            seen = seen + (part if active is None else active * part)
        return ClientOutput(tree_sub(meta, moved), weight(task), {"loss": seen})

    return send_model


def _as_update(result: MetaGradient) -> MetaParams:
    if result.alpha is None:
        return {"theta": result.theta}
    return {"theta": result.theta, "alpha": result.alpha}


def _loss_seen(result: MetaGradient, query: Batch) -> Tensor:
    """[2] (sum, count) of the query losses after adaptation."""
    size = result.query_loss.new_ones(()) * count(query)
    return torch.stack([result.query_loss * size, size])


def _first_alpha(
    alpha_init: float | tuple[float, float],
) -> Callable[[Tensor], Tensor]:
    if isinstance(alpha_init, int | float):
        return lambda p: torch.full_like(p, float(alpha_init))
    low, high = alpha_init
    generator = torch.Generator().manual_seed(0)

    def draw(p: Tensor) -> Tensor:
        uniform = torch.rand(p.shape, generator=generator, dtype=torch.float32)
        return (low + (high - low) * uniform).to(p)

    return draw


def _work(
    plan: Plan, first_order: bool, local: LocalSteps | None, chunk: int | None
) -> Callable[[int, int], Work]:
    def work(support: int, query: int) -> Work:
        sets = [support]
        if local is not None:
            support, query = local.used(support, query)
            sets = Plan(batch_size=local.support_size).sizes(support)
        sizes = [size for each in sets for size in plan.sizes(each)]
        inner = sum(sizes)
        if first_order:
            return Work(support, query, inner + query, 0)
        again = sum(recomputed(size, chunk) for size in sizes)
        return Work(support, query, inner + again + query, inner, again)

    return work
