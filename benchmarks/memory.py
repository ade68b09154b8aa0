"""Memory against rounds: peak, growth a round, and seconds a round.

    python benchmarks/memory.py [--model femnist|shakespeare|sent140] [--rounds 300]
        [--records LOW HIGH] [--threads 2]
    python benchmarks/memory.py -- kedro run --pipeline femnist_maml --env paper

The first trains MAML with the paper's networks on random data of 4 clients a round,
each of LOW to HIGH records, drawn anew every round: sizes that never settle. The second
runs any command that logs "round r of n", such as a training on real data. The length
of rounds between two such lines is taken to be even.

What is printed is resident anonymous memory of the process (RssAnon of Linux, sampled
ten times a second), which leaves mapped files out: at round 50, at its peak, and its
least-squares slope over the rounds after round 50.
"""

import argparse
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rounds import ALPHA, BETA, CASES

from fedmeta.core.algorithms import maml
from fedmeta.core.allocator import keep_freed_memory
from fedmeta.core.backends import threaded
from fedmeta.core.engine import run_rounds
from fedmeta.core.optimizers import adam
from fedmeta.core.types import Batch, Task

RECORDS = {"femnist": (20, 459), "shakespeare": (20, 180), "sent140": (20, 180)}
SETTLED = 50  # rounds until memory is to be flat
CHUNK = 256  # as in conf/base
EVERY_S = 0.1  # seconds between two samples
ROUND = re.compile(r"round (\d+) of \d+")


def measure(command: list[str], show: bool) -> str:
    """Run a command; MB at round 50, peak, MB a round after it, seconds a round.

    Args:
        command: which logs its rounds.
        show: pass its output on.

    Raises:
        SystemExit: if the command fails, or ends before a second line after round 50.
    """
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    samples: list[tuple[float, float]] = []  # (when, MB)
    threading.Thread(target=_sample, args=(process.pid, samples), daemon=True).start()
    reached: list[tuple[float, int]] = []  # (when, round)
    for line in process.stdout:
        if show:
            sys.stderr.write(line)
        if found := ROUND.search(line):
            reached.append((time.monotonic(), int(found[1])))
    if process.wait():
        raise SystemExit(process.returncode)

    when, megabytes = np.array(samples).T
    times, numbers = np.array(reached).T
    rounds = np.interp(when, times, numbers, left=0, right=0)
    settled = rounds >= SETTLED
    if numbers[-1] <= SETTLED or settled.sum() < 2:
        raise SystemExit(f"no growth can be seen in {numbers[-1]:.0f} rounds")
    slope = np.polynomial.Polynomial.fit(rounds[settled], megabytes[settled], 1)
    # An evaluation lies between lines too: the median is that of a plain stretch.
    paces = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(reached) if b[1] > a[1]]
    return (
        f"{megabytes[settled][0]:10.0f} {megabytes.max():8.0f}"
        f" {slope.convert().coef[1]:12.3f} {np.median(paces):10.2f}"
    )


def _sample(pid: int, samples: list[tuple[float, float]]) -> None:
    """Append to ``samples`` for as long as the process lives."""
    status = Path(f"/proc/{pid}/status")
    with suppress(OSError):  # it has ended
        while found := re.search(r"RssAnon:\s+(\d+) kB", status.read_text()):
            samples.append((time.monotonic(), int(found[1]) / 1e3))
            time.sleep(EVERY_S)


def train(name: str, rounds: int, records: tuple[int, int], threads: int) -> None:
    """MAML on random clients, a line a round."""
    keep_freed_memory(threads)
    torch.set_num_threads(1)
    case = CASES[name]
    model = case.model()
    algorithm = maml(model.loss, inner_lr=ALPHA, server=adam(BETA), chunk=CHUNK)

    def make_task(client: str, _: int) -> Task:
        size = int(client)
        support = max(1, size // 5)
        x, y = case.examples(size)
        return Task(
            Batch(x[:support], y[:support]),
            Batch(x[support:], y[support:]),
            torch.empty(0, size, dtype=torch.int64),
        )

    rng = np.random.default_rng(0)
    low, high = records
    cohorts = ([str(n) for n in rng.integers(low, high + 1, 4)] for _ in range(rounds))
    for_each = threaded(threads)(algorithm.client_update, make_task)
    state = algorithm.init(model.init(0))
    for number, _, _ in run_rounds(algorithm, state, cohorts, for_each):
        print(f"round {number} of {rounds}", flush=True)


def main() -> None:
    """Print a row for each model, or for a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=CASES)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--records", type=int, nargs=2, metavar=("LOW", "HIGH"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help="to run instead")
    args = parser.parse_args()
    if args.one:
        train(args.model, args.rounds, args.records, args.threads)
        return
    print("              MB, r. 50  MB, peak   MB a round  s a round", flush=True)
    if args.command:
        print(f"{Path(args.command[0]).name:13s}", measure(args.command, show=True))
        return
    for name in [args.model] if args.model else CASES:
        low, high = args.records or RECORDS[name]
        command = [
            *(sys.executable, __file__, "--one", "--model", name),
            *("--rounds", str(args.rounds), "--threads", str(args.threads)),
            *("--records", str(low), str(high)),
        ]
        print(f"{name:13s}", measure(command, show=False), flush=True)


if __name__ == "__main__":
    main()
