"""The plain PyTorch loop that rounds are compared with: no tricks.

One client after another, ``create_graph=True`` for second derivatives,
``torch.optim.Adam`` as it comes, layers of `torch.nn`: on a CPU, `torch.nn.LSTM` runs
through oneDNN there, and torch writes its gradient out to differentiate it again.
"""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Examples = tuple[Tensor, Tensor]  # x [n, *features], y [n]
Client = tuple[Examples, Examples]  # support, query


def femnist_network() -> nn.Sequential:
    """The network of `fedmeta.models.cnn`, parameter by parameter in its order."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 2048),
        nn.ReLU(),
        nn.Linear(2048, 62),
    )


class LastStep(nn.Module):
    """Two LSTM layers, batch first, of which the last step goes on."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


def shakespeare_network() -> nn.Sequential:
    """The network of `fedmeta.models.lstm.character_lstm` for 53 symbols."""
    return nn.Sequential(nn.Embedding(53, 8), LastStep(8, 256), nn.Linear(256, 53))


def sent140_network() -> nn.Sequential:
    """The network of `fedmeta.models.lstm.tweet_lstm` on vectors of 300 numbers."""
    return nn.Sequential(LastStep(300, 100), nn.Linear(100, 128), nn.Linear(128, 2))


def maml_round(
    network: nn.Module,
    server: torch.optim.Optimizer,
    clients: Sequence[Client],
    alpha: float,
    first_order: bool = False,
) -> None:
    """One round of FedMeta(MAML) with one inner step, in place."""
    theta = dict(network.named_parameters())
    total = [torch.zeros_like(p) for p in theta.values()]
    for support, query in clients:
        slopes = torch.autograd.grad(
            _loss(network, theta, support),
            list(theta.values()),
            create_graph=not first_order,
        )
        adapted = {
            name: p - alpha * s
            for (name, p), s in zip(theta.items(), slopes, strict=True)
        }
        gradient = torch.autograd.grad(
            _loss(network, adapted, query), list(theta.values())
        )
        total = [t + g for t, g in zip(total, gradient, strict=True)]
    step(server, theta.values(), total, len(clients))


def meta_sgd_round(
    network: nn.Module,
    alpha: dict[str, Tensor],
    server: torch.optim.Optimizer,
    clients: Sequence[Client],
) -> None:
    """One round of FedMeta(Meta-SGD) with one inner step, in place."""
    theta = dict(network.named_parameters())
    learned = [*theta.values(), *alpha.values()]
    total = [torch.zeros_like(p) for p in learned]
    for support, query in clients:
        slopes = torch.autograd.grad(
            _loss(network, theta, support), list(theta.values()), create_graph=True
        )
        adapted = {
            name: p - alpha[name] * s
            for (name, p), s in zip(theta.items(), slopes, strict=True)
        }
        gradient = torch.autograd.grad(_loss(network, adapted, query), learned)
        total = [t + g for t, g in zip(total, gradient, strict=True)]
    step(server, learned, total, len(clients))


def fedavg_round(
    network: nn.Module, clients: Sequence[Client], lr: float, batch_size: int = 10
) -> None:
    """One round of FedAvg with Adam on each client, one epoch, in place."""
    total = [torch.zeros_like(p) for p in network.parameters()]
    for (x_support, y_support), (x_query, y_query) in clients:
        x, y = torch.cat([x_support, x_query]), torch.cat([y_support, y_query])
        local = copy.deepcopy(network)
        optimizer = torch.optim.Adam(local.parameters(), lr=lr)
        for rows in torch.randperm(len(y)).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(local(x[rows]), y[rows]).backward()
            optimizer.step()
        total = [t + p.detach() for t, p in zip(total, local.parameters(), strict=True)]
    with torch.no_grad():
        for p, t in zip(network.parameters(), total, strict=True):
            p.copy_(t / len(clients))


def _loss(network: nn.Module, params: dict[str, Tensor], examples: Examples) -> Tensor:
    x, y = examples
    return F.cross_entropy(functional_call(network, params, x), y)


def step(
    server: torch.optim.Optimizer,
    learned: Iterable[Tensor],
    total: Sequence[Tensor],
    clients: int,
) -> None:
    """The server's step down the mean of so many clients' gradients."""
    for p, t in zip(learned, total, strict=True):
        p.grad = t / clients
    server.step()
