"""Seconds that a round takes for being computed by dask workers on this machine.

    python benchmarks/workers.py [--workers 2] [--rounds 10]

Clients return at once what they are sent, so that only the way there and back is
timed: the parameters of the paper's FEMNIST network (26 MB) to every worker, an update
of that size from each of 4 clients; then cohorts of 4 to 256 clients of a model of 40
kB, whose cost a client should not grow. Medians over rounds.
"""

import argparse
import statistics
import time

import torch

from fedmeta.core.types import MetaParams
from fedmeta.models.cnn import femnist_cnn
from fedmeta.runtime.workers import over_workers


def client(meta: MetaParams, task: None) -> MetaParams:
    """What a client returns: an update of the size of what it was sent."""
    return {name: {k: v + 1 for k, v in part.items()} for name, part in meta.items()}


def no_task(name: str, number: int) -> None:
    """A client without data."""


def seconds(meta: MetaParams, cohort: int, workers: int, rounds: int) -> float:
    """Median seconds of a round."""
    names = [f"client {n}" for n in range(cohort)]
    for_each = over_workers(None, workers)(client, no_task)
    taken = []
    for number in range(rounds + 1):  # the first one imports what clients need
        began = time.perf_counter()
        for _ in for_each(meta, names, number):
            pass
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    network = {"theta": femnist_cnn().init(0)}
    taken = seconds(network, 4, given.workers, given.rounds)
    print(f"6.6 M parameters, 4 clients: {taken:.2f} s a round")
    small = {"theta": {"w": torch.zeros(10_000)}}
    for cohort in (4, 16, 64, 256):
        taken = seconds(small, cohort, given.workers, given.rounds)
        print(
            f"40 kB, {cohort:3} clients: {taken:.3f} s a round,"
            f" {1000 * taken / cohort:.1f} ms a client"
        )


if __name__ == "__main__":
    main()
