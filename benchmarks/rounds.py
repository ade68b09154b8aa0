"""Seconds of a round of local computation, ours against a plain loop.

    python benchmarks/rounds.py [--model femnist|shakespeare|sent140]
        [--threads 2] [--passes 5] [--clients 4]
    python benchmarks/rounds.py --precision bfloat16

Both sides run in this process on the same random data, in float32, with the same
allocator settings, and take turns; what is printed are the best times and the median of
the ratios of neighbours. The plain loop gives all threads to each operation, ours one
to each client. A round is the work of its clients, their mean and the server's step.
On a shared machine, ``--threads 1`` compares processor times, which others disturb
less. The second form compares FEMNIST's rounds in bfloat16 with ours in float32.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from ceiling import rates
from reference import (
    Client,
    Examples,
    fedavg_round,
    femnist_network,
    maml_round,
    meta_sgd_round,
    sent140_network,
    shakespeare_network,
)
from torch import nn

from fedmeta.core.algorithms import fedavg, maml, meta_sgd
from fedmeta.core.allocator import keep_freed_memory
from fedmeta.core.backends import sequential, threaded
from fedmeta.core.cost import analytic_flops
from fedmeta.core.engine import run_rounds
from fedmeta.core.model import Model
from fedmeta.core.optimizers import adam
from fedmeta.core.types import Algorithm, Batch, Task
from fedmeta.models.cnn import PRECISIONS, femnist_cnn
from fedmeta.models.lstm import character_lstm, tweet_lstm

ALPHA, BETA = 1e-3, 1e-4


class Case(NamedTuple):
    """A model of ours, its plain counterpart, and a client's random data."""

    model: Callable[[], Model]
    network: Callable[[], nn.Module]
    examples: Callable[[int], Examples]
    support: int
    query: int


CASES = {
    "femnist": Case(
        femnist_cnn,
        femnist_network,
        lambda rows: (torch.rand(rows, 784), torch.randint(62, (rows,))),
        support=44,
        query=176,
    ),
    "shakespeare": Case(
        lambda: character_lstm(53),
        shakespeare_network,
        lambda rows: (torch.randint(53, (rows, 80)), torch.randint(53, (rows,))),
        support=20,
        query=80,
    ),
    "sent140": Case(
        lambda: tweet_lstm(words=0, width=300),
        sent140_network,
        lambda rows: (torch.randn(rows, 25, 300), torch.randint(2, (rows,))),
        support=20,
        query=80,
    ),
}


def algorithms(model: Model) -> dict[str, Algorithm]:
    """Ours, by name."""
    options = {"inner_lr": ALPHA, "server": adam(BETA)}
    return {
        "MAML": maml(model.loss, **options),
        "FOMAML": maml(model.loss, first_order=True, **options),
        "Meta-SGD": meta_sgd(model.loss, alpha_init=ALPHA, server=adam(BETA)),
        "FedAvg": fedavg(model.loss, local=adam(BETA)),
    }


def plain_rounds(
    make_network: Callable[[], nn.Module], clients: Sequence[Client]
) -> dict[str, Callable[[], None]]:
    """A function per algorithm that runs a round of the plain loop."""

    def meta(**options) -> Callable[[], None]:
        network = make_network()
        server = torch.optim.Adam(network.parameters(), lr=BETA)
        return partial(maml_round, network, server, clients, ALPHA, **options)

    def with_step_sizes() -> Callable[[], None]:
        network = make_network()
        alpha = {
            name: torch.full_like(p, ALPHA).requires_grad_()
            for name, p in network.named_parameters()
        }
        server = torch.optim.Adam([*network.parameters(), *alpha.values()], lr=BETA)
        return partial(meta_sgd_round, network, alpha, server, clients)

    return {
        "MAML": meta(),
        "FOMAML": meta(first_order=True),
        "Meta-SGD": with_step_sizes(),
        "FedAvg": partial(fedavg_round, make_network(), clients, BETA),
    }


def our_round(
    algorithm: Algorithm, model: Model, clients: Sequence[Client], threads: int
) -> Callable[[], None]:
    """A function that runs a round through the engine."""
    backend = threaded(threads) if threads > 1 else sequential
    names = [str(i) for i in range(len(clients))]

    def make_task(client: str, round_number: int) -> Task:
        (x, y), (x_query, y_query) = clients[int(client)]
        orders = torch.randperm(len(y) + len(y_query)).expand(algorithm.passes, -1)
        return Task(Batch(x, y), Batch(x_query, y_query), orders)

    for_each = backend(algorithm.client_update, make_task)
    state = algorithm.init(model.init(0))

    def run() -> None:
        nonlocal state
        ((_, state, _),) = run_rounds(algorithm, state, [names], for_each)

    return run


def seconds(run: Callable[[], None], torch_threads: int, clock) -> float:
    """How long ``run`` takes with so many threads an operation."""
    torch.set_num_threads(torch_threads)
    start = clock()
    run()
    return clock() - start


def main() -> None:
    """Print a table: seconds of both, their ratio, and what share of the ceiling."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=CASES, default="femnist")
    for option, default in {"threads": 2, "passes": 5, "clients": 4}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    for option in ("support", "query"):
        parser.add_argument(f"--{option}", type=int, help="records of a client")
    parser.add_argument("--precision", choices=PRECISIONS, help="compared with ours")
    options = parser.parse_args()
    if options.precision and options.model != "femnist":
        parser.error("--precision: FEMNIST's network alone has one")
    keep_freed_memory(options.threads)
    clock = time.perf_counter if options.threads > 1 else time.process_time
    case = CASES[options.model]
    model = case.model()
    support, query = options.support or case.support, options.query or case.query

    torch.manual_seed(0)
    clients = [
        (case.examples(support), case.examples(query)) for _ in range(options.clients)
    ]
    ceiling = max(rates(options.threads, clock=clock).values())
    print(f"ceiling {ceiling / 1e9:.0f} GFLOP/s with {options.threads} threads")
    other, threads = ("float32", 1) if options.precision else ("plain", options.threads)
    print(f"algorithm  {other} s   ours s  ratio  ours GFLOP/s  of ceiling")
    if options.precision:
        against = {
            name: our_round(algorithm, model, clients, options.threads)
            for name, algorithm in algorithms(model).items()
        }
        model = femnist_cnn(precision=options.precision)
    else:
        against = plain_rounds(case.network, clients)
    for name, algorithm in algorithms(model).items():
        ours = our_round(algorithm, model, clients, options.threads)
        pairs = [
            (seconds(against[name], threads, clock), seconds(ours, 1, clock))
            for _ in range(options.passes + 1)
        ][1:]  # the first warms up
        best = [min(column) for column in zip(*pairs, strict=True)]
        ratio = statistics.median(a / b for a, b in pairs)
        work = algorithm.work(support, query)
        rate = options.clients * analytic_flops(work, model.flops) / best[1]
        print(
            f"{name:9s} {best[0]:8.3f} {best[1]:8.3f} {ratio:5.2f}x"
            f" {rate / 1e9:13.0f} {rate / ceiling:11.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
