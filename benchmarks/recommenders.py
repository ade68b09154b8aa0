"""Seconds to train each user's own recommender, together against one after another.

    python benchmarks/recommenders.py [--kind nn|lr] [--users 2369] [--steps 10000]
        [--threads 2] [--measured 300] [--quick]

Users have 100 to 5,000 records, lognormal with a median of 300, of which 80 % are
trained on, and 2 to 36 services; 10 of a record's 103 features are 1. Both sides run in
this process on the same data, in float32, with the same allocator settings.

Ours trains all users, for 100 steps and for ``--measured``, and what is printed is
reckoned from both times; ``--measured 10000`` measures it all. The plain loop trains 12
users of all sizes for 50 steps, which are scaled up, once with one thread an operation
and once with all, of which the quicker counts. On a shared machine, ``--threads 1``
compares processor times, which others disturb less: seconds of one core, then.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedmeta.core.allocator import keep_freed_memory
from fedmeta.recommenders.together import train_together

FEATURES, ONES, CLASSES = 103, 10, 40
HIDDEN = {"lr": None, "nn": 64}
FIRST_STEPS = 100  # in which all the different batches are drawn
PLAIN_USERS, PLAIN_STEPS = 12, 50

Records = tuple[Tensor, Tensor]  # x [n, FEATURES], y [n]
Clock = Callable[[], float]


def random_users(count: int) -> dict[str, Records]:
    """Records to train on of so many users."""
    rng = np.random.default_rng(0)
    median, mean = 300, 686
    spread = math.sqrt(2 * math.log(mean / median))
    sizes = rng.lognormal(math.log(median), spread, count).clip(100, 5_000)
    users = {}
    for number, size in enumerate(np.floor(0.8 * sizes).astype(int)):
        ones = rng.random((size, FEATURES)).argpartition(ONES)[:, :ONES]
        x = np.zeros((size, FEATURES), dtype=np.float32)
        np.put_along_axis(x, ones, 1, axis=1)
        y = rng.integers(rng.integers(2, 36, endpoint=True), size=size)
        users[str(number)] = (torch.from_numpy(x), torch.from_numpy(y))
    return users


def batch_size(records: Records) -> int:
    """Half of the records, but 500 at most."""
    return min(500, math.ceil(len(records[1]) / 2))


def plain_training(records: Records, hidden: int | None, steps: int) -> None:
    """One user's model, as one would write it."""
    x, y = records
    if hidden is None:
        model = nn.Linear(FEATURES, CLASSES)
    else:
        model = nn.Sequential(
            nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randperm(len(y))[: batch_size(records)]
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()


def plain_seconds(
    users: Mapping[str, Records], hidden: int | None, clock: Clock
) -> float:
    """Of one user and step, on average over users of all sizes."""
    by_size = sorted(users.values(), key=batch_size)
    ranks = (np.arange(PLAIN_USERS) + 0.5) / PLAIN_USERS * len(users)
    sample = [by_size[int(rank)] for rank in ranks]
    plain_training(sample[0], hidden, PLAIN_STEPS)  # warms up
    start = clock()
    for records in sample:
        plain_training(records, hidden, PLAIN_STEPS)
    return (clock() - start) / len(sample) / PLAIN_STEPS


def our_seconds(
    users: Mapping[str, Records],
    hidden: int | None,
    steps: int,
    threads: int,
    clock: Clock,
) -> float:
    """Of training all users."""
    start = clock()
    for _ in train_together(
        users, classes=CLASSES, hidden=hidden, steps=[steps], workers=threads
    ):
        pass
    return clock() - start


def main() -> None:
    """Print a table: seconds of both, their ratio, nanoseconds of a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=HIDDEN, default="nn")
    parser.add_argument("--users", type=int, default=2_369)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measured", type=int, default=300, help="steps")
    parser.add_argument("--quick", action="store_true", help="only 48 users")
    options = parser.parse_args()
    keep_freed_memory(options.threads)
    hidden, threads = HIDDEN[options.kind], options.threads
    clock = time.perf_counter if threads > 1 else time.process_time
    users = random_users(48 if options.quick else options.users)
    measured = min(options.measured, options.steps)

    plain_of_threads = {}
    for number in {1, threads}:
        torch.set_num_threads(number)
        plain_of_threads[number] = plain_seconds(users, hidden, clock)
    torch.set_num_threads(1)
    plain = min(plain_of_threads.values()) * len(users) * options.steps
    ours = our_seconds(users, hidden, measured, threads, clock)
    if FIRST_STEPS < measured < options.steps:
        first = our_seconds(users, hidden, FIRST_STEPS, threads, clock)
        slope = (ours - first) / (measured - FIRST_STEPS)
        ours += slope * (options.steps - measured)
    elif measured < options.steps:
        ours *= options.steps / measured

    rows = sum(map(batch_size, users.values()))
    print(
        f"{len(users):,} users, {options.steps:,} steps, {rows / len(users):.0f} rows"
    )
    print("kind    plain s     ours s  ratio  ours ns/row  how")
    how = "measured" if measured == options.steps else f"reckoned from {measured} steps"
    print(
        f"{options.kind:4s} {plain:10,.0f} {ours:10,.0f} {plain / ours:5.1f}x"
        f" {ours * threads / rows / options.steps * 1e9:12.0f}  {how}"
    )


if __name__ == "__main__":
    main()
