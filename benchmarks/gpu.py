"""All that is asked of a GPU, in one command of some minutes.

    kedro run --pipeline femnist_data --env tuned
    python benchmarks/gpu.py pack packed.npz --env tuned      # 26 MB
    python benchmarks/gpu.py run packed.npz found --minutes 9 # where there is a GPU

The last command needs no more than torch, pandas, pyarrow and pytest there, and ``src``
on the PYTHONPATH. Written to the folder ``found``:

- tests.log: whether every backend computes there what one client after another does on
  the CPU, to rounding;
- rounds.csv: seconds of a round of the paper's network, ours and the plain loop's (see
  rounds.py), on data that are there already, taking turns; ours in float32, with the
  tensor cores' TF32, and in bfloat16;
- cells.csv: cells of the paper's Table 2 for FEMNIST with the options that were packed,
  for as long as the time allows, a row as soon as its training has ended. Clients,
  cohorts, tasks and initial weights are those of ``kedro run`` with these options.
"""

import argparse
import csv
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from rounds import CASES, algorithms, begun, on, our_round, plain_rounds

from fedmeta.benchmarks.femnist.pixels import codebook, encoding
from fedmeta.core.algorithms import ALGORITHMS, FineTuning, LocalSteps, options_of
from fedmeta.core.backends import vectorized
from fedmeta.core.engine import run_rounds
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.core.inner import Plan
from fedmeta.core.model import Model
from fedmeta.core.optimizers import OPTIMIZERS
from fedmeta.core.trees import running_mean
from fedmeta.core.types import Algorithm, MetaParams
from fedmeta.data.partition import partition_examples
from fedmeta.data.tasks import sample_cohort, task_maker
from fedmeta.models.cnn import femnist_cnn

COMPARED = ("fedavg", "fedavg_meta", "maml", "fomaml", "meta_sgd")
FRACTIONS = (0.2, 0.5, 0.9)  # of a client's records that are support: p
EVALUATED_AT_ONCE = 16
TESTS = "test_backends_agree"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("packed", type=Path)
    packing.add_argument("--env", default="tuned", help="a folder of conf/")
    packing.add_argument("--project", type=Path, default=Path.cwd())
    packing.set_defaults(call=pack)
    running = commands.add_parser("run")
    running.add_argument("packed", type=Path)
    running.add_argument("found", type=Path, help="a folder for what is found")
    running.add_argument("--device", default="cuda")
    running.add_argument("--minutes", type=float, default=9)
    running.add_argument("--rounds", type=int, help="of a training; as packed")
    running.add_argument("--passes", type=int, default=10, help="timed rounds")
    running.add_argument("--records", type=int, help="of a timed client; 220")
    running.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    running.add_argument("--seeds", type=int, default=3, help="how many")
    running.add_argument("--tests", default=TESTS, help="as pytest's -k")
    running.set_defaults(call=run)
    options = vars(parser.parse_args(arguments))
    options.pop("call")(**options)


def pack(packed: Path, env: str, project: Path) -> None:
    """Write the clients' records and what they are trained with to one file."""
    # The project's own environment has these, a machine with a GPU may not.
    from kedro.framework.session import KedroSession  # noqa: PLC0415
    from kedro.framework.startup import bootstrap_project  # noqa: PLC0415

    bootstrap_project(project)
    with KedroSession.create(project, env=env) as session:
        context = session.load_context()
        load = context.catalog.load
        records, clients = load("femnist.records"), load("femnist.clients")
        split = load("femnist.client_split")
        block = context.params["femnist"]
    columns = [
        {name: column[row.start : row.stop] for name, column in found.items()}
        for row in clients.itertuples()
        for found in [records.columns(row.client_id)]
    ]
    header = {
        "parts": {name: split[name] for name in ("train", "validation", "test")},
        "model": block["model"],
        "training": block["training"].model_dump(mode="json"),
        "partition": block["partition"].model_dump(mode="json"),
        "inverted": block["encoding"]["inverted"],
        "algorithms": {name: options_of(name, block) for name in COMPARED},
        "synthetic": records.synthetic,
    }
    np.savez_compressed(
        packed,
        header=json.dumps(header),
        ids=clients["client_id"].to_numpy(str),
        sizes=(clients["stop"] - clients["start"]).to_numpy(),
        **{n: np.concatenate([c[n] for c in columns]) for n in ("pixels", "label")},
    )
    print(f"{packed}: {len(clients)} clients, {packed.stat().st_size / 1e6:.0f} MB")


def run(
    packed: Path,
    found: Path,
    device: str,
    minutes: float,
    rounds: int | None,
    passes: int,
    records: int | None,
    fractions: Sequence[float],
    seeds: int,
    tests: str,
) -> None:
    """Tests, timed rounds, cells; a line as each is done."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here: give --device cpu, or install its CUDA build")
    end = time.monotonic() + 60 * minutes
    there, on_it = torch.device(device), f"on {_name(device)}"
    torch.backends.cudnn.allow_tf32 = False  # as `kedro run` has it
    found.mkdir(parents=True, exist_ok=True)
    core = Path(__file__).parents[1] / "tests" / "core" / "test_algorithms.py"
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", core, "-k", tests]
    with (found / "tests.log").open("w") as log:
        code = subprocess.run(
            [*command, "-p", "no:cacheprovider"], stdout=log, check=False
        ).returncode
    print(
        f"backends {on_it}: {'passed' if code == 0 else 'FAILED'} (tests.log)",
        flush=True,
    )
    _write(found / "rounds.csv", timed(there, passes, records))
    _write(
        found / "cells.csv",
        cells(Packed.read(packed), there, rounds, fractions, seeds, end),
    )
    if code:
        sys.exit(code)


def timed(
    device: torch.device, passes: int, records: int | None
) -> Iterator[dict[str, Any]]:
    """Median seconds of a round of four clients, and ours against the plain loop's."""
    case = CASES["femnist"]
    support = case.support if records is None else max(1, records // 5)
    query = case.query if records is None else records - support
    torch.manual_seed(0)
    clients = [
        tuple(on(device, case.examples(rows)) for rows in (support, query))
        for _ in range(4)
    ]
    plain = plain_rounds(lambda: case.network().to(device), clients)
    ways = {
        "float32": (case.model(), False),
        "tf32": (case.model(), True),
        "bfloat16": (femnist_cnn(precision="bfloat16"), False),
    }
    rounds = {
        (name, way): our_round(algorithm, model, clients, vectorized(len(clients)))
        for way, (model, _) in ways.items()
        for name, algorithm in algorithms(model).items()
    }
    for name, theirs in plain.items():
        seconds: dict[str, list[float]] = {way: [] for way in ("plain", *ways)}
        for _ in range(passes + 1):
            seconds["plain"].append(_seconds(theirs, device, tf32=False))
            for way, (_, tf32) in ways.items():
                taken = _seconds(rounds[name, way], device, tf32)
                seconds[way].append(taken)
        median = {way: statistics.median(s[1:]) for way, s in seconds.items()}
        ratio = median["plain"] / median["float32"]
        print(f"{name}: a round {ratio:.1f} times as fast as the plain loop's")
        yield {
            "algorithm": name,
            **{f"{way}_seconds": f"{value:.5f}" for way, value in median.items()},
            "plain_over_float32": f"{ratio:.2f}",
            "device": _name(device),
        }


class Packed(NamedTuple):
    """What `pack` has written."""

    clients: pd.DataFrame  # as `fedmeta.data.tasks.task_maker` wants it
    pixels: np.ndarray  # uint8 [records, 784], client after client
    label: np.ndarray  # [records]
    bounds: dict[str, slice]  # of a client's records, by its id
    header: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Packed":
        with np.load(path) as file:
            ids, sizes = file["ids"].tolist(), file["sizes"]
            ends = np.cumsum(sizes)
            frame = pd.DataFrame({"client_id": ids, "start": 0, "stop": sizes})
            bounds = map(slice, ends - sizes, ends)
            return cls(
                frame,
                file["pixels"],
                file["label"],
                dict(zip(ids, bounds, strict=True)),
                json.loads(str(file["header"])),
            )

    def columns(self, client_id: str) -> dict[str, np.ndarray]:
        """A client's records, as `fedmeta.data.federated.FederatedDataset` has them."""
        rows = self.bounds[client_id]
        return {"pixels": self.pixels[rows], "label": self.label[rows]}


def cells(
    packed: Packed,
    device: torch.device,
    rounds: int | None,
    fractions: Sequence[float],
    seeds: int,
    end: float,
) -> Iterator[dict[str, Any]]:
    """Rows of Table 2, p by p and then seed by seed, until the clock is at ``end``."""
    header = packed.header
    rounds = rounds or header["training"]["rounds"]
    trained: dict[tuple[str, int], MetaParams] = {}  # that depend on no p
    for seed, p in itertools.product(range(seeds), fractions):
        for name in COMPARED:
            start = time.monotonic()
            model = femnist_cnn(**header["model"])
            algorithm = _algorithm(name, model, header)
            task = _tasks(packed, p, seed, device)
            shared = ALGORITHMS[name].trained_as or name, seed
            meta = trained.get(shared)
            if meta is None:
                meta = _trained(
                    algorithm, model, packed, task, seed, rounds, device, end
                )
                if meta is None:
                    return
            if algorithm.split_invariant:
                trained[shared] = meta
            rows = evaluate_clients(
                algorithm,
                model,
                meta,
                header["parts"]["test"],
                task(0),
                vectorized(EVALUATED_AT_ONCE),
                header["training"]["chunk"],
            )
            sums = pd.DataFrame(rows).sum(numeric_only=True)
            before, after, loss = (
                sums[column] / sums["num_query"]
                for column in (
                    "accuracy_sum_before",
                    "accuracy_sum_after",
                    "loss_sum_after",
                )
            )
            print(f"{name}, p {p}, seed {seed}: {after:.2%}", flush=True)
            yield {
                "algorithm": name,
                "support_fraction": p,
                "seed": seed,
                "rounds": rounds,
                "test_clients": len(header["parts"]["test"]),
                "synthetic": header["synthetic"],
                "accuracy_before": f"{before:.5f}",
                "accuracy": f"{after:.5f}",
                "loss": f"{loss:.5f}",
                "seconds": f"{time.monotonic() - start:.1f}",
                "device": _name(device),
            }


def _trained(
    algorithm: Algorithm,
    model: Model,
    packed: Packed,
    task: Callable[..., Any],
    seed: int,
    rounds: int,
    device: torch.device,
    end: float,
) -> MetaParams | None:
    """What is learned in so many rounds; None: the clock was at ``end`` before."""
    training = packed.header["training"]
    ids, size = packed.header["parts"]["train"], training["clients_per_round"]
    state = begun(algorithm, model, seed, device)
    for_each = vectorized(size)(algorithm.client_update, task(algorithm.passes))
    cohorts = (sample_cohort(ids, size, seed, t) for t in range(1, rounds + 1))
    mean, before = None, 3 * rounds // 4
    for number, state, _ in run_rounds(algorithm, state, cohorts, for_each):
        if time.monotonic() > end:
            return None
        if number > before:
            mean = running_mean(mean, state.meta, number - before)
    return mean if training["iterate"] == "average" else state.meta


def _tasks(
    packed: Packed, p: float, seed: int, device: torch.device
) -> Callable[[int], Any]:
    """Of a number of passes: the function that draws a client's task."""
    divided = partition_examples(packed.clients, p, packed.header["partition"]["seed"])
    read = encoding(codebook(None, None, packed.header["inverted"]))
    made = partial(task_maker, packed, packed.clients, divided, read, seed=seed)
    return lambda passes: made(passes=passes, device=device)


def _algorithm(name: str, model: Model, header: dict[str, Any]) -> Algorithm:
    options = header["algorithms"][name]
    taken = {key: _option(key, value) for key, value in options.items()}
    chunk = header["training"]["chunk"]
    return ALGORITHMS[name].factory(model.loss, chunk=chunk, **taken)


def _option(key: str, value: Any) -> Any:
    """A YAML value as the factories take it; `fedmeta.options` needs pydantic."""
    if not isinstance(value, dict):
        return value
    inner = {k: _option(k, v) for k, v in value.items()}
    if "name" in inner:
        return OPTIMIZERS[inner.pop("name")](**inner)
    kinds = {"plan": Plan, "fine_tuning": FineTuning, "local": LocalSteps}
    return kinds[key](**inner)


def _seconds(round_: Callable[[], None], device: torch.device, tf32: bool) -> float:
    with _with_tf32(tf32):
        _wait(device)
        start = time.perf_counter()
        round_()
        _wait(device)
        return time.perf_counter() - start


@contextmanager
def _with_tf32(wanted: bool) -> Iterator[None]:
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn
    earlier = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = wanted
        yield
    finally:
        for kind, was in zip(kinds, earlier, strict=True):
            kind.allow_tf32 = was


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device | str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(device)


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Rows to a CSV file, each as it comes."""
    with path.open("w", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, row)
                writer.writeheader()
            writer.writerow(row)
            file.flush()


if __name__ == "__main__":
    main()
