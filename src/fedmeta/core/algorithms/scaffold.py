"""SCAFFOLD: local steps that are corrected by where other clients would go.

Karimireddy et al. 2020 (arXiv 1910.06378), with c_i the control variate that client i
keeps and c their mean, which the server sends. In K local steps of rate eta from x,

    y <- y - eta (grad L_i(y) - c_i + c);    c_i' = c_i - c + (x - y) / (K eta),

which is the paper's option II. x and c move by the changes of a round's clients: of
those that come back, so that c stays the mean of all c_i.
"""

from fedmeta.core.algorithms.common import applied_by, batches_of, weight_of
from fedmeta.core.algorithms.fedavg import FineTuning, check_fine_tuning, fine_tuned
from fedmeta.core.bounds import Count, Rate
from fedmeta.core.gradients import Loss, counts
from fedmeta.core.inner import train
from fedmeta.core.optimizers import Optimizer, sgd, with_correction
from fedmeta.core.trees import tree_map, tree_sub
from fedmeta.core.types import (
    Algorithm,
    Batch,
    ClientOutput,
    MetaParams,
    Params,
    ServerState,
    Task,
    Weighted,
    Work,
    mean_update,
)


def scaffold(
    loss: Loss,
    *,
    lr: Rate,
    population: Count | None = None,
    epochs: Count = 1,
    batch_size: Count | None = 10,
    fine_tuning: FineTuning | None = None,
    server: Optimizer = sgd(1.0),
    chunk: Count | None = None,
) -> Algorithm:
    """Average models whose local steps are corrected by control variates.

    Args:
        loss: mean loss of a batch.
        lr: eta, of the clients' plain gradient descent.
        population: N, the number of training clients, which the training knows. None:
            nothing is trained here.
        epochs: passes over a client's records a round.
        batch_size: records a local step; None: all.
        fine_tuning: on the support set, before a client is judged. None: clients use
            the global model as it is.
        server: applied to the mean of (x - y).
        chunk: records differentiated at once; bounds memory, changes nothing.
    """
    weight, step = weight_of("uniform"), applied_by(server)

    def init(theta: Params) -> ServerState:
        check_fine_tuning(fine_tuning, theta)
        meta = {"theta": theta, "control": zeros_like(theta)}
        return ServerState(meta, server.init({"theta": theta}), 0)

    def zeros_like(theta: Params) -> Params:
        return {name: leaf.new_zeros(leaf.shape) for name, leaf in theta.items()}

    def adapt(meta: MetaParams, support: Batch) -> Params:
        if fine_tuning is None:
            return meta["theta"]
        return fine_tuned(loss, meta["theta"], support, fine_tuning, chunk)

    def client_update(meta: MetaParams, task: Task) -> ClientOutput:
        theta, control, own = meta["theta"], meta["control"], task.state
        batches = batches_of(task, task.orders, batch_size)
        optimizer = with_correction(tree_sub(control, own), sgd(lr))
        trained, seen = train(loss, theta, batches, optimizer, chunk, task.round)
        moved = tree_sub(theta, trained)
        there = [counts(batch) for batch in batches]
        length = lr * sum(1 if one is None else one for one in there)  # K eta
        change = tree_map(lambda c, m: c - m / length, control, moved)  # c_i - c_i'
        update = {"theta": moved, "control": change}
        return ClientOutput(update, weight(task), {"loss": seen}, tree_sub(own, change))

    def aggregate(state: ServerState, updates: Weighted) -> MetaParams:
        if population is None:
            raise ValueError("scaffold: expected the number of training clients")
        came = 0

        def counted() -> Weighted:
            nonlocal came
            for came, pair in enumerate(updates, 1):
                yield pair

        mean = mean_update(state, counted())
        share = came / population
        return {**mean, "control": tree_map(lambda c: share * c, mean["control"])}

    def server_update(state: ServerState, update: MetaParams) -> ServerState:
        inner = ServerState({"theta": state.meta["theta"]}, *state[1:])
        after = step(inner, {"theta": update["theta"]})
        control = tree_sub(state.meta["control"], update["control"])
        return after._replace(meta={**after.meta, "control": control})

    return Algorithm(
        init=init,
        adapt=adapt,
        client_update=client_update,
        server_update=server_update,
        work=lambda support, query: Work(support, query, epochs * (support + query), 0),
        passes=epochs,
        split_invariant=True,
        aggregate=aggregate,
        client_state=lambda meta: zeros_like(meta["theta"]),
    )
