"""Layers that every client keeps for itself, under a body that all share.

FedPer (Arivazhagan et al. 2019, arXiv 1912.00818) trains both together; FedRep (Collins
et al. 2021, arXiv 2102.07078) trains a client's head first, and then the body under it.
The head of a client is never sent. One that no training has seen starts from the
initial head, and fine-tunes.
"""

from fedmeta.core.algorithms.common import (
    DIVIDED,
    applied_by,
    batches_of,
    check_part,
    leaving,
    theta_only,
    weight_of,
    within,
    without,
)
from fedmeta.core.algorithms.fedavg import (
    FineTuning,
    beside,
    check_fine_tuning,
    fine_tuned,
)
from fedmeta.core.bounds import Count, Number
from fedmeta.core.gradients import Loss
from fedmeta.core.inner import train
from fedmeta.core.optimizers import Optimizer, sgd
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


def fedper(
    loss: Loss,
    *,
    head: tuple[str, ...],
    local: Optimizer,
    fine_tuning: FineTuning,
    epochs: Count = 1,
    head_epochs: Number = 0,
    batch_size: Count | None = 10,
    server: Optimizer = sgd(1.0),
    weights: str = "uniform",
    chunk: Count | None = None,
) -> Algorithm:
    """Average the bodies of networks whose heads stay with the clients.

    Args:
        loss: mean loss of a batch.
        head: layers that a client keeps, from round to round.
        local: a client's optimiser; starts fresh every round, and for each part.
        fine_tuning: of the shared body and the initial head, on the support set of a
            client that is judged.
        epochs: passes over a client's records a round: of the body alone where
            ``head_epochs`` come before, of both together otherwise.
        head_epochs: passes of the head alone, under the body that was sent: FedRep. 0:
            FedPer.
        batch_size: records a local step; None: all.
        server: applied to the mean of the bodies' (sent - locally trained).
        weights: a client's share in that mean, a name of `WEIGHTS`.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    weight, start = weight_of(weights), theta_only(server)

    def init(theta: Params) -> ServerState:
        check_part(head, theta, "head")
        check_fine_tuning(fine_tuning, theta)
        return start(theta)

    def adapt(meta: MetaParams, support: Batch) -> Params:
        return fine_tuned(loss, meta["theta"], support, fine_tuning, chunk)

    def client_update(meta: MetaParams, task: Task) -> ClientOutput:
        body, own = without(head, meta["theta"]), task.state
        theta = {**body, **own}
        moving = body if head_epochs else theta
        if head_epochs:
            first = batches_of(task, task.orders[:head_epochs], batch_size)
            own, _ = train(beside(theta, loss), own, first, local, chunk, task.round)
        batches = batches_of(task, task.orders[head_epochs:], batch_size)
        rest = beside({**theta, **own}, loss)
        trained, seen = train(rest, moving, batches, local, chunk, task.round)
        after = {**meta["theta"], **without(head, trained)}
        update = {"theta": tree_sub(meta["theta"], after)}
        kept = own if head_epochs else within(head, trained)
        return ClientOutput(update, weight(task), {"loss": seen}, kept)

    def work(support: int, query: int) -> Work:
        records = support + query
        return Work(support, query, epochs * records, 0, forward=head_epochs * records)

    return Algorithm(
        init=init,
        adapt=adapt,
        client_update=client_update,
        server_update=leaving(head, applied_by(server)),
        work=work,
        passes=epochs + head_epochs,
        split_invariant=weights not in DIVIDED,
        sent=lambda meta: {"theta": without(head, meta["theta"])},
        client_state=lambda meta: within(head, meta["theta"]),
    )
