"""Meta-learning by local meta-steps: Per-FedAvg and its nu-step generalisation.

Fallah et al. 2020 (arXiv 2002.07948) minimise the clients' mean loss after one step of
fine-tuning; Jamali et al. 2025 (arXiv 2504.21327) after any number nu of them:

    F_i(w) = f_i(w_nu),  w_0 = w,  w_{j+1} = w_j - alpha grad f_i(w_j).

A client takes tau steps along an estimate of F_i's gradient and sends how far it came.
"""

from collections.abc import Iterator
from typing import Literal

import torch

from fedmeta.core.algorithms.common import (
    DIVIDED,
    applied_by,
    sampled_batches,
    sampled_sizes,
    theta_only,
    weight_of,
)
from fedmeta.core.bounds import Count, Rate
from fedmeta.core.gradients import Loss, count, counts, recomputed
from fedmeta.core.inner import Hessians, Plan, descend, meta_gradient
from fedmeta.core.optimizers import Optimizer, sgd
from fedmeta.core.trees import tree_clone, tree_sub
from fedmeta.core.types import (
    Algorithm,
    Batch,
    ClientOutput,
    MetaParams,
    Params,
    Task,
    Work,
)


def nu_step(
    loss: Loss,
    *,
    inner_lr: Rate,
    steps: Count,
    local: Optimizer,
    local_steps: Count = 1,
    batches: Literal["independent", "reused", "sets"] = "independent",
    batch_size: Count | None = 40,
    hessians: Hessians = Hessians(),
    adapt_plan: Plan | None = None,
    server: Optimizer = sgd(1.0),
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """Learn the initialisation from which nu steps of fine-tuning do best.

    Args:
        loss: mean loss of a batch.
        inner_lr: alpha, the size of a fine-tuning step.
        steps: nu, fine-tuning steps that the objective looks ahead; 1: Per-FedAvg.
        local: optimiser of a client's meta-steps, SGD of beta in the papers; starts
            fresh every round.
        local_steps: tau, meta-steps of a client a round.
        batches: what a meta-step is made from. "independent": a batch for each
            fine-tuning step, one for the gradient behind them, one for each Hessian,
            all drawn anew from all records of the client. "reused": Hessians are of
            the batches of their steps. "sets": nothing is drawn; every step goes over
            the whole support set, the gradient behind them over the query set.
        batch_size: records of a drawn batch; None: all.
        hessians: exact, or how they are approximated.
        adapt_plan: fine-tuning of an evaluated client; None: ``steps`` steps on the
            whole support set.
        server: applied to the mean of (w - w after the meta-steps).
        weights: a client's share in that mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    weight = weight_of(weights)
    adapting = adapt_plan or Plan(epochs=steps)
    draws = {"independent": 2 * steps + 1, "reused": steps + 1, "sets": 0}[batches]

    def samples(task: Task) -> Iterator[tuple[list[Batch], Batch, list[Batch]]]:
        """For each meta-step batches of fine-tuning, one behind it, of Hessians."""
        if batches == "sets":
            yield from [([task.support] * steps, task.query, [])] * local_steps
        else:
            made = sampled_batches(task, batch_size)
            for first in range(0, len(made), draws):
                some = made[first : first + draws]
                yield some[:steps], some[steps], some[steps + 1 :]

    def adapt(meta: MetaParams, support: Batch) -> Params:
        plan = adapting.batches(support)
        return descend(loss, meta["theta"], plan, inner_lr, chunk)

    def client_update(meta: MetaParams, task: Task) -> ClientOutput:
        moved = tree_clone(meta["theta"])
        state, seen = local.init(moved), torch.zeros(())
        for tuning, behind, curvature in samples(task):
            result = meta_gradient(
                loss,
                moved,
                tuning,
                behind,
                inner_lr,
                hessians=hessians,
                curvature=curvature or None,
                chunk=chunk,
            )
            size = result.query_loss.new_ones(()) * count(behind)
            moved, state = local.update(
                result.theta, state, moved, counts(behind), task.round
            )
            seen = seen + torch.stack([result.query_loss * size, size])
        update = {"theta": tree_sub(meta["theta"], moved)}
        return ClientOutput(update, weight(task), {"loss": seen})

    def work(support: int, query: int) -> Work:
        kept = steps if hessians.last is None else min(hessians.last, steps)
        if draws:
            support, query = sampled_sizes(support, query, batch_size)
            tuned = behind = support + query
        else:
            tuned, behind = support, query
        gradients, products, again = steps * tuned + behind, kept * tuned, 0
        if hessians.difference is not None:  # two gradients for a product
            gradients, products = gradients + 2 * products, 0
        elif batches == "independent":  # the graph of a gradient of its own
            gradients += products
        else:
            again = kept * recomputed(tuned, chunk)
        done = (gradients + again, products, again)
        return Work(support, query, *(local_steps * records for records in done))

    return Algorithm(
        init=theta_only(server),
        adapt=adapt,
        client_update=client_update,
        server_update=applied_by(server),
        work=work,
        passes=draws * local_steps,
        split_invariant=batches != "sets" and weights not in DIVIDED,
    )
