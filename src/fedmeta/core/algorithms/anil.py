"""ANIL: almost no inner loop (Raghu et al. 2020, arXiv 1909.09157)."""

from fedmeta.core.algorithms.common import (
    applied_by,
    check_head,
    is_in,
    theta_only,
)
from fedmeta.core.algorithms.maml import LocalSteps, learner
from fedmeta.core.bounds import Count, Rate
from fedmeta.core.gradients import Loss
from fedmeta.core.inner import Plan
from fedmeta.core.optimizers import Optimizer
from fedmeta.core.types import Algorithm, MetaParams, Params, ServerState


def anil(
    loss: Loss,
    *,
    head: tuple[str, ...],
    inner_lr: Rate,
    plan: Plan = Plan(),
    adapt_plan: Plan | None = None,
    server: Optimizer,
    local: LocalSteps | None = None,
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """MAML whose inner loop moves the head of the network alone.

    The outer step moves everything, by the exact gradient.

    Args:
        loss: mean loss of a batch.
        head: layers that clients adapt, such as "classifier"; a layer's parameters
            are called "<layer>.<name>".
        inner_lr: alpha, the size of an inner step.
        plan: epochs and batch size of the inner loop.
        adapt_plan: those of adapting to an evaluated client; None: ``plan``.
        server: optimiser of the outer step, applied to the clients' mean update.
        local: as for `maml`.
        weights: a client's share in the mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    start = theta_only(server)

    def init(theta: Params) -> ServerState:
        check_head(head, theta)
        return start(theta)

    def step_size(meta: MetaParams) -> Params:
        return {
            # One number, seen as a tensor of the parameter's shape.
            name: p.new_tensor(inner_lr if is_in(head, name) else 0.0).expand_as(p)
            for name, p in meta["theta"].items()
        }

    return learner(
        loss,
        init,
        step_size,
        applied_by(server),
        plan=plan,
        adapt_plan=adapt_plan or plan,
        local=local,
        first_order=False,
        weights=weights,
        chunk=chunk,
    )
