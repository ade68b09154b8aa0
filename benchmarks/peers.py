"""Rounds as of `reference`, with the inner loops of libraries for meta-learning.

They are in no lock file: ``pip install --no-deps learn2learn torchopt`` and what they
then miss, in an environment that is thrown away. An algorithm that a library does not
have is missing here.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from reference import Client, Examples, step
from torch import Tensor, nn
from torch.nn import functional as F

Round = Callable[[], None]
# (maker of the network, clients, alpha, beta) -> a function that runs a round, by
# algorithm
Rounds = Callable[
    [Callable[[], nn.Module], Sequence[Client], float, float], Mapping[str, Round]
]


def learn2learn_rounds(
    make_network: Callable[[], nn.Module],
    clients: Sequence[Client],
    alpha: float,
    beta: float,
) -> dict[str, Round]:
    """Clones of a module, which take differentiable steps in place."""
    from learn2learn.algorithms import MAML, MetaSGD  # noqa: PLC0415

    def learning(learner: Any) -> Round:
        def query_loss(support: Examples, query: Examples) -> Tensor:
            clone = learner.clone()
            clone.adapt(_loss(clone, support))
            return _loss(clone, query)

        return _rounds(list(learner.parameters()), beta, clients, query_loss)

    return {
        "MAML": learning(MAML(make_network(), lr=alpha)),
        "FOMAML": learning(MAML(make_network(), lr=alpha, first_order=True)),
        "Meta-SGD": learning(MetaSGD(make_network(), lr=alpha)),
    }


def torchopt_rounds(
    make_network: Callable[[], nn.Module],
    clients: Sequence[Client],
    alpha: float,
    beta: float,
) -> dict[str, Round]:
    """A differentiable optimiser of a module, which is then put back."""
    import torchopt  # noqa: PLC0415

    network = make_network()
    learned = list(network.parameters())
    inner = torchopt.MetaSGD(network, lr=alpha)
    start = [(part, torchopt.extract_state_dict(part)) for part in (network, inner)]

    def query_loss(support: Examples, query: Examples) -> Tensor:
        inner.step(_loss(network, support))
        loss = _loss(network, query)
        for part, state in start:
            torchopt.recover_state_dict(part, state)
        return loss

    return {"MAML": _rounds(learned, beta, clients, query_loss)}


PEERS: dict[str, Rounds] = {  # by the name of the package
    "learn2learn": learn2learn_rounds,
    "torchopt": torchopt_rounds,
}


def installed() -> dict[str, Rounds]:
    """Those of `PEERS` that are there."""
    return {name: rounds for name, rounds in PEERS.items() if find_spec(name)}


def _rounds(
    learned: Sequence[Tensor],
    beta: float,
    clients: Sequence[Client],
    query_loss: Callable[[Examples, Examples], Tensor],
) -> Round:
    """A function that runs a round: gradients of the clients, their mean, Adam."""
    server = torch.optim.Adam(learned, lr=beta)

    def run() -> None:
        total = [torch.zeros_like(p) for p in learned]
        for support, query in clients:
            gradient = torch.autograd.grad(query_loss(support, query), learned)
            total = [t + g for t, g in zip(total, gradient, strict=True)]
        step(server, learned, total, len(clients))

    return run


def _loss(network: Callable[[Tensor], Tensor], examples: Examples) -> Tensor:
    x, y = examples
    return F.cross_entropy(network(x), y)
