"""Federated averaging (McMahan et al. 2017) and what differs from it by an option.

FedAvg(Meta) of Chen et al. (section 4.1) is the very same training; only before a
test client is judged, it fine-tunes the global model on the client's support set.
FedProx adds a proximal term to the clients' loss; FedAvgM, FedAdagrad, FedAdam and
FedYogi put another optimiser on the server. FedBABU (Oh et al. 2022, arXiv 2106.06042)
leaves the head of the network at its initial weights until a client fine-tunes. Ditto
(Li et al. 2021, arXiv 2012.04221) draws fine-tuning to the global model.
"""

from typing import NamedTuple

from fedmeta.core.algorithms.common import (
    DIVIDED,
    applied_by,
    batches_of,
    check_head,
    check_part,
    leaving,
    sampled_batches,
    sampled_sizes,
    theta_only,
    weight_of,
    within,
    without,
)
from fedmeta.core.bounds import Count, Number, Weight
from fedmeta.core.gradients import Loss
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
    proximal: Weight = 0.0  # lambda of Ditto, which draws to the global model


def fine_tuned(
    loss: Loss, theta: Params, support: Batch, how: FineTuning, chunk: int | None = None
) -> Params:
    """Parameters after a client's fine-tuning of ``theta`` on its support set."""
    check_fine_tuning(how, theta)
    batches = Plan(how.epochs, how.batch_size).batches(support)
    moving = theta if how.head is None else within(how.head, theta)
    optimizer = how.optimizer
    if how.proximal:
        optimizer = with_proximal_term(moving, how.proximal, optimizer)
    tuned, _ = train(beside(theta, loss), moving, batches, optimizer, chunk)
    return {**theta, **tuned}


def check_fine_tuning(how: FineTuning | None, theta: Params) -> None:
    """Refuse a head of layers that the network does not have.

    Raises:
        ValueError: for it.
    """
    if how is not None and how.head is not None:
        check_head(how.head, theta)


def beside(theta: Params, loss: Loss) -> Loss:
    """The loss as a function of some parameters; the others are those of ``theta``."""
    return lambda moving, batch: loss({**theta, **moving}, batch)


def fedavg(
    loss: Loss,
    *,
    local: Optimizer,
    epochs: Count = 1,
    steps: Count | None = None,
    batch_size: Count | None = 10,
    proximal: Weight = 0.0,
    frozen: tuple[str, ...] = (),
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
        frozen: layers that stay at their initial weights, which are neither trained nor
            sent: FedBABU, of a head.
        fine_tuning: on the support set, before a client is judged: FedAvg(Meta).
            None: clients use the global model as it is: FedAvg.
        server: applied to the mean of (theta - locally trained theta).
        weights: a client's share in that mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    weight, start, step = weight_of(weights), theta_only(server), applied_by(server)

    def init(theta: Params) -> ServerState:
        check_fine_tuning(fine_tuning, theta)
        if frozen:
            check_part(frozen, theta, "frozen")
        return start(theta)

    def adapt(meta: MetaParams, support: Batch) -> Params:
        if fine_tuning is None:
            return meta["theta"]
        return fine_tuned(loss, meta["theta"], support, fine_tuning, chunk)

    def client_update(meta: MetaParams, task: Task) -> ClientOutput:
        if steps is not None:
            batches = sampled_batches(task, batch_size)
        else:
            batches = batches_of(task, task.orders, batch_size)
        theta, optimizer = meta["theta"], local
        moving = without(frozen, theta)
        if proximal:
            optimizer = with_proximal_term(moving, proximal, local)
        trained, seen = train(
            beside(theta, loss), moving, batches, optimizer, chunk, task.round
        )
        update = {"theta": tree_sub(theta, {**theta, **trained})}
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
        server_update=leaving(frozen, step),
        work=work,
        passes=epochs if steps is None else steps,
        split_invariant=weights not in DIVIDED,
        sent=lambda meta: {"theta": without(frozen, meta["theta"])},
    )
