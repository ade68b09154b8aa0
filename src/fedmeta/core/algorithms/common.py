"""What the algorithms share: the server's step, the weights of its mean, batches."""

from collections.abc import Callable, Collection, Iterable
from operator import itemgetter

import torch
from torch import Tensor

from fedmeta.core.gradients import count, slices
from fedmeta.core.optimizers import Optimizer
from fedmeta.core.trees import tree_clone, tree_map
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


def _tensor(value: Tensor | int) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


# A client's share in the weighted mean. Algorithm 1 of Chen et al. has 1/m, their
# appendix "weights proportional to local data".
WEIGHTS: dict[str, Callable[[Task], Tensor]] = {
    "uniform": lambda task: _tensor(1),
    "num_examples": lambda task: _tensor(count(task.support) + count(task.query)),
    "num_query": lambda task: _tensor(count(task.query)),
}


# Of these, the ones that depend on how a client's records are divided.
DIVIDED = {"num_query"}


def weight_of(name: str) -> Callable[[Task], Tensor]:
    """The entry of `WEIGHTS` of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in WEIGHTS:
        raise ValueError(f"unknown weights {name!r}; one of {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def theta_only(server: Optimizer) -> Callable[[Params], ServerState]:
    """Initial state of an algorithm that learns an initialisation alone."""

    def init(params: Params) -> ServerState:
        meta = {"theta": params}
        return ServerState(meta, server.init(meta), 0)

    return init


def applied_by(
    server: Optimizer,
) -> Callable[[ServerState, MetaParams], ServerState]:
    """The server's step: its optimiser, whose state persists, on the mean update."""

    def server_update(state: ServerState, update: MetaParams) -> ServerState:
        meta, opt_state = server.update(
            update,
            tree_clone(state.opt_state),
            tree_clone(state.meta),
            None,
            state.round + 1,
        )
        return ServerState(meta, opt_state, state.round + 1)

    return server_update


def is_in(layers: Collection[str], name: str) -> bool:
    """Whether a parameter, "<layer>.<name>", is one of these layers' or of theirs."""
    return any(name == layer or name.startswith(f"{layer}.") for layer in layers)


def check_head(head: Collection[str], params: Params, option: str = "head") -> None:
    """Refuse layers that the network does not have.

    Raises:
        ValueError: for none at all, or an unknown one.
    """
    if not head or not all(within([layer], params) for layer in head):
        layers = sorted({name.rpartition(".")[0] or name for name in params})
        raise ValueError(
            f"{option} {list(head)}: expected some of the model's layers, which are "
            f"{', '.join(layers)}"
        )


def without(layers: Collection[str], params: Params) -> Params:
    """The parameters of all other layers."""
    return {n: p for n, p in params.items() if not is_in(layers, n)}


def within(layers: Collection[str], params: Params) -> Params:
    """The parameters of some layers."""
    return {n: p for n, p in params.items() if is_in(layers, n)}


def check_part(layers: Collection[str], params: Params, option: str) -> None:
    """Refuse layers that are not some of the network's, with others left.

    Raises:
        ValueError: for them.
    """
    check_head(layers, params, option)
    if not without(layers, params):
        raise ValueError(f"{option} {list(layers)}: expected a layer to be left")


def leaving(
    layers: Collection[str], step: Callable[[ServerState, MetaParams], ServerState]
) -> Callable[[ServerState, MetaParams], ServerState]:
    """The server's step, after which some layers of theta are as they were before."""

    def server_update(state: ServerState, update: MetaParams) -> ServerState:
        after = step(state, update)
        # Noise on an update, which hides it, is on all of it.
        kept = tree_clone(within(layers, state.meta["theta"]))
        return after._replace(meta={"theta": {**after.meta["theta"], **kept}})

    return server_update


def everything(task: Task) -> Batch:
    """Support and query records together."""
    support, query = task.support, task.query
    mask = None
    if support.mask is not None and query.mask is not None:
        mask = torch.cat([support.mask, query.mask])
    x, y = torch.cat([support.x, query.x]), torch.cat([support.y, query.y])
    return Batch(x, y, mask)


def ordered(batch: Batch, order: Tensor) -> Batch:
    """The records of a batch that are named, in that order."""
    return batch.map(itemgetter(order))


def batches_of(task: Task, orders: Iterable[Tensor], size: int | None) -> list[Batch]:
    """The batches of passes over a client's records, each pass in one of the orders."""
    records = everything(task)
    passes = (ordered(records, order) for order in orders)
    return [batch for one in passes for batch in slices(one, size)]


def sampled_batches(task: Task, size: int | None) -> list[Batch]:
    """A batch of at most ``size`` of the client's records for each order of a task.

    Each is the beginning of its order: no record is twice in a batch, and batches do
    not depend on each other. None: all records.
    """
    records = everything(task)
    return [ordered(records, order[:size]) for order in task.orders]


def sampled_sizes(support: int, query: int, size: int | None) -> tuple[int, int]:
    """Numbers of support and query records in a sampled batch, support first."""
    total = support + query if size is None else min(size, support + query)
    return min(support, total - 1), total - min(support, total - 1)


def without_rounds(
    adapt: Callable[[MetaParams, Batch], Params],
    check: Callable[[Params], None] = lambda theta: None,
) -> Algorithm:
    """An algorithm that learns nothing in rounds and sends nothing, but adapts.

    Args:
        adapt: as of an `Algorithm`.
        check: refuses parameters that it cannot start from.
    """

    def init(theta: Params) -> ServerState:
        check(theta)
        return ServerState({"theta": theta}, {}, 0)

    return Algorithm(
        init=init,
        adapt=adapt,
        client_update=lambda meta, task: ClientOutput(
            tree_map(torch.zeros_like, meta), _tensor(1), {}
        ),
        server_update=lambda state, update: ServerState(
            tree_clone(state.meta), {}, state.round + 1
        ),
        work=lambda support, query: Work(0, 0, 0, 0),
        split_invariant=True,
        sent=lambda meta: {},
    )
