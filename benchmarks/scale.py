"""Peak memory and time a round against the number of clients.

    python benchmarks/scale.py                       # generated, a tiny linear model
    python benchmarks/scale.py --states --cohort 500 # clients that keep something
    python benchmarks/scale.py records.arrow         # a packed FEMNIST, the paper's CNN

Each size runs in a process of its own, so that peaks are its own. Columns: clients in
the data; MB on the disk; peak MB before the first round (index, split, partition: what
grows with the number of clients) and after the last; milliseconds a round (median).
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fedmeta.benchmarks.femnist.pixels import codebook, encoding
from fedmeta.core.algorithms import maml, scaffold
from fedmeta.core.backends import sequential
from fedmeta.core.engine import run_rounds
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.optimizers import adam
from fedmeta.data.encoding import Encoding
from fedmeta.data.federated import (
    ClientRecords,
    FederatedDataset,
    read_packed,
    write_packed,
)
from fedmeta.data.ids import Ids
from fedmeta.data.partition import partition_examples, split_clients
from fedmeta.data.states import ClientStates
from fedmeta.data.tasks import sample_cohort, task_maker
from fedmeta.models.cnn import femnist_cnn

FEATURES, CLASSES, RECORDS = 4, 3, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packed", type=Path, nargs="?")
    parser.add_argument("--clients", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cohort", type=int, default=4, help="clients a round")
    parser.add_argument(
        "--states", action="store_true", help="SCAFFOLD, whose clients keep a state"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(
            measure(args.packed, args.clients[0], args.rounds, args.cohort, args.states)
        )
        return
    sizes = args.clients or ([100, 1000, 3597] if args.packed else [10**3, 10**6])
    print("   clients   disk MB   peak MB, ready   peak MB, end   ms a round")
    for size in sizes:
        command = [sys.executable, __file__, "--one", "--rounds", str(args.rounds)]
        command += ["--cohort", str(args.cohort), *["--states"] * args.states]
        command += [str(args.packed)] if args.packed else []
        subprocess.run([*command, "--clients", str(size)], check=True)


def measure(
    packed: Path | None, size: int, rounds: int, cohort: int, states: bool
) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        generates = packed is None
        if generates:
            packed = Path(folder) / "records.arrow"
            write_packed(packed, generated(size), {"benchmark": "none"})
        dataset = read_packed(packed)
        clients = table(dataset, size)
        if generates:
            model, encoded = linear_model(), Encoding(linear_examples, {})
        else:
            model = femnist_cnn()
            encoded = encoding(codebook(dataset, clients))
        split = split_clients(clients["client_id"].tolist(), [0.8, 0.1, 0.1], 0)
        partition = partition_examples(clients, 0.2, 0)
        if states:
            algorithm = scaffold(model.loss, lr=0.01, population=len(split["train"]))
        else:
            algorithm = maml(model.loss, inner_lr=0.01, server=adam(0.001))
        make_task = task_maker(
            dataset, clients, partition, encoded, passes=algorithm.passes, seed=0
        )
        state, keep = algorithm.init(model.init(0)), None
        if algorithm.client_state is not None:
            kept = ClientStates(Path(folder) / "states", Ids(clients["client_id"]))
            make_task = kept.given(make_task, algorithm.client_state(state.meta))
            keep = kept.keep
        ready = peak_mb()

        cohorts = (sample_cohort(split["train"], cohort, 0, t) for t in range(rounds))
        for_each = sequential(algorithm.client_update, make_task)
        times, last = [], time.perf_counter()
        for _ in run_rounds(algorithm, state, cohorts, for_each, keep=keep):
            times.append(time.perf_counter() - last)
            last = time.perf_counter()
        disk = packed.stat().st_size / 1e6
        return (
            f"{len(clients):10,d} {disk:9.1f} {ready:16.0f} {peak_mb():14.0f}"
            f" {1000 * statistics.median(times):12.1f}"
        )


def table(dataset: FederatedDataset, size: int) -> pd.DataFrame:
    """The clients table of the first ``size`` clients, all their records."""
    return pd.DataFrame(
        {
            "client_id": dataset.client_ids[:size].to_pandas(),
            "start": 0,
            "stop": dataset.num_examples[:size],
        }
    )


def generated(size: int) -> Iterator[ClientRecords]:
    """Clients of a few records of a few numbers."""
    rng = np.random.default_rng(0)
    for number in range(size):
        x = rng.normal(size=(RECORDS, FEATURES)).astype(np.float32)
        y = rng.integers(CLASSES, size=RECORDS).astype(np.uint8)
        yield ClientRecords(f"client_{number:07d}", {"x": x, "label": y})


def linear_examples(
    columns: dict[str, np.ndarray], rows: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.from_numpy(columns["label"][rows])
    return torch.from_numpy(columns["x"][rows]), y.to(torch.int64)


def linear_model() -> Model:
    def init(seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return {"weight": torch.randn(CLASSES, FEATURES, generator=generator)}

    flops = 2 * CLASSES * FEATURES
    apply = lambda params, x: x @ params["weight"].mT  # noqa: E731
    return classifier(init, apply, ForwardFlops(flops, flops))


def peak_mb() -> float:
    """Most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
