"""Seconds of a round of local computation, ours against a plain loop.

    python benchmarks/rounds.py [--model femnist|shakespeare|sent140]
        [--threads 2] [--passes 5] [--clients 4]
    python benchmarks/rounds.py --precision bfloat16
    python benchmarks/rounds.py --peers    # of peers.py, those that are installed

All sides run in this process on the same random data, in float32, with the same
allocator settings, and take turns; what is printed are the best times and the median of
the ratios of neighbours. The plain loop gives all threads to each operation, ours one
to each client. A round is the work of its clients, their mean and the server's step.
On a shared machine, ``--threads 1`` compares processor times, which others disturb
less. The second form compares FEMNIST's rounds in bfloat16 with ours in float32, the
third with the inner loops of other libraries too, which get all threads as well.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from ceiling import rates
from peers import installed
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
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Algorithm, Backend, Batch, ServerState, Task
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
    algorithm: Algorithm, model: Model, clients: Sequence[Client], backend: Backend
) -> Callable[[], None]:
    """A function that runs a round through the engine, where the clients' data are."""
    names = [str(i) for i in range(len(clients))]
    device = clients[0][0][0].device

    def make_task(client: str, round_number: int) -> Task:
        (x, y), (x_query, y_query) = clients[int(client)]
        orders = torch.randperm(len(y) + len(y_query), device=device)
        return Task(
            Batch(x, y),
            Batch(x_query, y_query),
            orders.expand(algorithm.passes, -1),
            torch.tensor(float(round_number), device=device),
        )

    for_each = backend(algorithm.client_update, make_task)
    state = begun(algorithm, model, 0, device)

    def run() -> None:
        nonlocal state
        ((_, state, _),) = run_rounds(algorithm, state, [names], for_each)

    return run


def on(device: torch.device, tree: Any) -> Any:
    """The tensors of a tree, on a device."""
    return tree_map(lambda leaf: leaf.to(device), tree)


def begun(
    algorithm: Algorithm, model: Model, seed: int, device: torch.device
) -> ServerState:
    """The server's state before the first round, on a device."""
    state = algorithm.init(on(device, model.init(seed)))
    return state._replace(opt_state=on(device, state.opt_state))


def seconds(run: Callable[[], None], torch_threads: int, clock) -> float:
    """How long ``run`` takes with so many threads an operation."""
    torch.set_num_threads(torch_threads)
    start = clock()
    run()
    return clock() - start


def main() -> None:
    """Print a table: seconds of each side, ours against theirs, and of the ceiling."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=CASES, default="femnist")
    for option, default in {"threads": 2, "passes": 5, "clients": 4}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    for option in ("support", "query"):
        parser.add_argument(f"--{option}", type=int, help="records of a client")
    parser.add_argument("--precision", choices=PRECISIONS, help="compared with ours")
    parser.add_argument("--peers", action="store_true", help="libraries that are there")
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
    backend = threaded(options.threads) if options.threads > 1 else sequential
    others: dict[str, Mapping[str, Callable[[], None]]] = {}
    threads = options.threads
    if options.precision:
        others["float32"] = {
            name: our_round(algorithm, model, clients, backend)
            for name, algorithm in algorithms(model).items()
        }
        model, threads = femnist_cnn(precision=options.precision), 1
    else:
        others["plain"] = plain_rounds(case.network, clients)
    if options.peers:
        for peer, rounds in installed().items():
            others[peer] = rounds(case.network, clients, ALPHA, BETA)
    columns = "".join(f"{side:>12s} s   ratio" for side in others)
    print(f"algorithm   ours s{columns}  GFLOP/s  of ceiling")
    for name, algorithm in algorithms(model).items():
        ours = our_round(algorithm, model, clients, backend)
        theirs = {
            side: rounds[name] for side, rounds in others.items() if name in rounds
        }
        taken = [
            {
                **{side: seconds(run, threads, clock) for side, run in theirs.items()},
                "ours": seconds(ours, 1, clock),
            }
            for _ in range(options.passes + 1)
        ][1:]  # the first warms up
        best = {side: min(times[side] for times in taken) for side in taken[0]}
        cells = [
            f"{best[side]:12.3f}   "
            f"{statistics.median(times[side] / times['ours'] for times in taken):5.2f}x"
            if side in theirs
            else f"{'-':>12s}   {'-':>6s}"
            for side in others
        ]
        work = algorithm.work(support, query)
        rate = options.clients * analytic_flops(work, model.flops) / best["ours"]
        print(
            f"{name:9s} {best['ours']:8.3f}{''.join(cells)}"
            f" {rate / 1e9:8.0f} {rate / ceiling:11.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
