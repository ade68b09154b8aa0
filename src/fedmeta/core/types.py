"""The values that travel between server and clients, and the roles that use them.

An algorithm is a record of pure functions. Randomness ends before it: a `Task` holds
one client's data for one round, drawn and shuffled, so that every backend computes
the same result.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedmeta.core.trees import weighted_mean

Params = dict[str, Tensor]  # parameter name -> tensor
MetaParams = dict[str, Params]  # {"theta": ...}; Meta-SGD adds "alpha". Broadcast.
ClientId = str


class Batch(NamedTuple):
    """Examples of one client."""

    x: Tensor  # [b, *features]
    y: Tensor  # [b] class ids
    # [b] 1 for an example, 0 for padding. None: every row is an example, which spares
    # the arithmetic of masking where clients need not be padded to a common size.
    mask: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with ``function`` of each of its tensors."""
        mask = None if self.mask is None else function(self.mask)
        return Batch(function(self.x), function(self.y), mask)


class Task(NamedTuple):
    """One client's data for one round: drawn, shuffled, no randomness left."""

    support: Batch  # s rows
    query: Batch  # q rows
    # [passes, s + q] orders in which local training goes through support and query
    # together: positions in the support followed by the query, padding last.
    orders: Tensor
    round: Tensor = torch.ones(())  # [] the number of the round, from 1
    state: Params = {}  # what the client has kept: `Algorithm.client_state`


class ClientOutput(NamedTuple):
    """What a client sends back."""

    update: MetaParams  # a descent direction, shaped like the broadcast
    weight: Tensor  # [] share in the weighted mean, before normalisation
    metrics: dict[str, Tensor]  # name -> [2] (sum, count)
    state: Params = {}  # what the client keeps till its next round; it is not sent


class ServerState(NamedTuple):
    """Exactly what a checkpoint holds."""

    meta: MetaParams
    opt_state: Any  # a pytree of tensors
    round: int


class Divergence(NamedTuple):
    """Where a training first met a number that is not finite."""

    round: int
    client: ClientId  # "": the server
    cause: str  # what was not finite

    def __str__(self) -> str:
        whose = f"client {self.client}: its" if self.client else "the server:"
        return f"diverged in round {self.round}: {whose} {self.cause} is not finite"


class Diverged(ArithmeticError):
    """Raised with the `Divergence` that ends a training."""

    @property
    def divergence(self) -> Divergence:
        found: Divergence = self.args[0]
        return found


class Work(NamedTuple):
    """Records that one client update works on, for cost accounting."""

    support: int  # different ones used of the support set
    query: int
    gradients: int  # passed forward and backward, each as often as it is
    hessian_products: int  # passed backward through that backward
    recomputed: int = 0  # of the gradients, taken again since a batch exceeds the chunk
    forward: int = 0  # passed forward, and backward through a head at most


Weighted = Iterator[tuple[Tensor, MetaParams]]  # weight and update of each client


def mean_update(state: ServerState, updates: Weighted) -> MetaParams:
    """The weighted mean of a round's updates, consumed as they come."""
    mean: MetaParams = weighted_mean(updates)
    return mean


def everything_sent(meta: MetaParams) -> MetaParams:
    """All meta-parameters: what most algorithms send."""
    return meta


class Algorithm(NamedTuple):
    """Pure functions that make up a federated (meta-)learning algorithm."""

    init: Callable[[Params], ServerState]
    # Personalise on a support set. Returns ``meta["theta"]`` itself to say: unchanged.
    adapt: Callable[[MetaParams, Batch], Params]
    client_update: Callable[[MetaParams, Task], ClientOutput]
    # (state, weighted mean of the updates) -> next state
    server_update: Callable[[ServerState, MetaParams], ServerState]
    work: Callable[[int, int], Work]  # (support records, query records) -> Work
    passes: int = 0  # shuffled passes over all its records that a client trains for
    # Training does not depend on which of a client's records are support, which query.
    split_invariant: bool = False
    # What the server makes of a round's updates, in the state before that round.
    aggregate: Callable[[ServerState, Weighted], MetaParams] = mean_update
    # (model, adapted parameters, support set) -> the client's own model, for these
    # parameters: it may remember records. None: the model itself.
    own_model: Callable[[Any, Params, Batch], Any] | None = None
    # What travels of a broadcast and of an update: the rest stays as it was in `init`,
    # is zero in updates, and costs no bytes. Nothing: no round changes anything.
    sent: Callable[[MetaParams], MetaParams] = everything_sent
    # What a client has before its first round, where clients keep something from round
    # to round: a function of what no round changes in a broadcast, or of its shapes.
    client_state: Callable[[MetaParams], Params] | None = None


MakeTask = Callable[[ClientId, int], Task]  # (client, round) -> Task
ForEachClient = Callable[
    [MetaParams, Sequence[ClientId], int], Iterator[tuple[ClientId, Any]]
]
# A backend maps a pure function over clients.
Backend = Callable[[Callable[[MetaParams, Task], Any], MakeTask], ForEachClient]
