"""Federated averaging (McMahan et al. 2017) and what differs from it by an option.

FedAvg(Meta) of Chen et al. (section 4.1) is the very same training; only before a
test client is judged, it fine-tunes the global model on the client's support set.
FedProx adds a proximal term to the clients' loss; FedAvgM, FedAdagrad, FedAdam and
FedYogi put another optimiser on the server.
"""

from typing import NamedTuple

from torch import Tensor

from fedmeta.core.algorithms.common import (
    DIVIDED,
    applied_by,
    check_head,
    everything,
    layer_of,
    ordered,
    sampled_batches,
    sampled_sizes,
    theta_only,
    weight_of,
)
from fedmeta.core.bounds import Count, Number, Weight
from fedmeta.core.gradients import Loss, slices
from fedmeta.core.inner import Plan, train
from fedmeta.core.optimizers import Optimizer, sgd, with_proximal_term
from fedmeta.core.trees import tree_sub
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


class FineTuning(NamedTuple):
    """How a client personalises the global model before it is judged."""

    optimizer: Optimizer  # starts fresh on every client
    epochs: Number = 1
    batch_size: Count | None = 10  # None: the whole support set at once
    head: tuple[str, ...] | None = None  # layers that are fine-tuned; None: all


def fedavg(
    loss: Loss,
    *,
    local: Optimizer,
    epochs: Count = 1,
    steps: Count | None = None,
    batch_size: Count | None = 10,
    proximal: Weight = 0.0,
    fine_tuning: FineTuning | None = None,
    server: Optimizer = sgd(1.0),
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """Average the models that clients train on all their records.

    Args:
        loss: mean loss of a batch.
        local: a client's optimiser; starts fresh every round.
        epochs: passes over a client's records a round.
        steps: so many local steps instead, each on a batch drawn anew; None: epochs.
        batch_size: records a local step; None: all.
        proximal: mu of FedProx, which draws clients to the model that they were sent.
        fine_tuning: on the support set, before a client is judged: FedAvg(Meta).
            None: clients use the global model as it is: FedAvg.
        server: applied to the mean of (theta - locally trained theta).
        weights: a client's share in that mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    weight, start = weight_of(weights), theta_only(server)
    head = None if fine_tuning is None else fine_tuning.head

    def init(theta: Params) -> ServerState:
        if head is not None:
            check_head(head, theta)
        return start(theta)

    def adapt(meta: MetaParams, support: Batch) -> Params:
        theta = meta["theta"]
        if fine_tuning is None:
            return theta
        batches = Plan(fine_tuning.epochs, fine_tuning.batch_size).batches(support)
        moving = {n: p for n, p in theta.items() if head is None or layer_of(n) in head}

        def loss_of_moving(moved: Params, batch: Batch) -> Tensor:
            return loss({**theta, **moved}, batch)

        tuned, _ = train(loss_of_moving, moving, batches, fine_tuning.optimizer, chunk)
        return {**theta, **tuned}

    def client_update(meta: MetaParams, task: Task) -> ClientOutput:
        if steps is not None:
            batches = sampled_batches(task, batch_size)
        else:
            records = everything(task)
            batches = [
                batch
                for order in task.orders
                for batch in slices(ordered(records, order), batch_size)
            ]
        optimizer = local
        if proximal:
            optimizer = with_proximal_term(meta["theta"], proximal, local)
        trained, seen = train(
            loss, meta["theta"], batches, optimizer, chunk, task.round
        )
        update = {"theta": tree_sub(meta["theta"], trained)}
        return ClientOutput(update, weight(task), {"loss": seen})

    def work(support: int, query: int) -> Work:
        if steps is None:
            return Work(support, query, epochs * (support + query), 0)
        support, query = sampled_sizes(support, query, batch_size)
        return Work(support, query, steps * (support + query), 0)

    return Algorithm(
        init=init,
        adapt=adapt,
        client_update=client_update,
        server_update=applied_by(server),
        work=work,
        passes=epochs if steps is None else steps,
        split_invariant=weights not in DIVIDED,
    )
