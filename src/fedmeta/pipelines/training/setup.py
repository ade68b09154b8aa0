"""What training and evaluation share: a model, the clients' tasks, a backend."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.core.algorithms import options_of
from fedmeta.core.allocator import keep_freed_memory
from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.core.model import Model
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Algorithm, Backend, ClientId, MakeTask, MetaParams
from fedmeta.data.encoding import Codebook
from fedmeta.data.encoding import checksum as codebook_checksum
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.partition import checksum
from fedmeta.data.tasks import Episode, pooled_task_maker, task_maker
from fedmeta.pipelines.options import TrainingOptions, build, build_algorithm


class Data(NamedTuple):
    """The prepared data of a benchmark."""

    records: FederatedDataset
    clients: pd.DataFrame
    client_split: dict[str, list[ClientId]]
    support_query: pd.DataFrame
    codebook: Codebook

    def fingerprint(self, *options: Any) -> str:
        """Of the data and of options: equal ones give the same training."""
        parts = [
            self.records.checksum,
            checksum(self.clients),
            self.client_split["checksum"],
            checksum(self.support_query),
            codebook_checksum(self.codebook),
            json.dumps(options, sort_keys=True, default=str),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def undivided(self) -> "Data":
        """The same records, without saying which are support and which are query."""
        used = self.support_query.drop(columns=["num_support", "num_query"])
        used["order"] = used["order"].map(np.sort)
        return self._replace(support_query=used)


class Setup(NamedTuple):
    """A model with the means to go over clients."""

    model: Model
    algorithms: dict[str, Algorithm]  # the first is the one that is trained
    training_task: MakeTask
    evaluation_task: MakeTask
    backend: Backend
    device: torch.device
    chunk: int  # records gone through at once

    def placed(self, tree: Any) -> Any:
        """The tensors of a tree, on the device."""
        return tree_map(lambda leaf: leaf.to(self.device), tree)

    def evaluated(
        self, name: str, meta: MetaParams, clients: Sequence[ClientId]
    ) -> Iterator[dict[str, str | int | float]]:
        """Scores of clients under one of the algorithms: `evaluate_clients`."""
        return evaluate_clients(
            self.algorithms[name],
            self.model,
            self.placed(meta),
            clients,
            self.evaluation_task,
            self.backend,
            self.chunk,
        )


def prepare(
    benchmark: Benchmark,
    data: Data,
    training: TrainingOptions,
    model: dict[str, Any],
    names: list[str],
    blocks: dict[str, dict[str, Any]],
) -> Setup:
    """Build a model and algorithms from their parameters; say how clients are run.

    Args:
        benchmark: the model's maker.
        data: of the clients.
        training: the round loop.
        model: its options.
        names: of the algorithms, the one that is trained first.
        blocks: options by the name of the block, of all that they are made from.
    """
    encoding = benchmark.encoding(data.codebook)
    network = build(partial(benchmark.model, **encoding.sizes), model, "model")
    chunk = {"chunk": training.chunk}
    built = {
        name: build_algorithm(name, network.loss, {**chunk, **options_of(name, blocks)})
        for name in names
    }
    device = choose_device(training.device)
    keep_freed_memory()
    passes = next(iter(built.values())).passes

    def tasks(passes: int, resample: bool, episode: Episode | None) -> MakeTask:
        return task_maker(
            data.records,
            data.clients,
            data.support_query,
            encoding,
            seed=training.seed,
            passes=passes,
            resample=resample,
            episode=episode,
            device=device,
        )

    training_task = tasks(passes, training.resample, training.episode)
    if training.pooled is not None:
        trained = data.clients["client_id"].isin(data.client_split["train"])
        training_task = pooled_task_maker(
            data.records,
            data.clients[trained],
            encoding,
            records=training.pooled,
            seed=training.seed,
            passes=passes,
            device=device,
        )

    return Setup(
        network,
        built,
        training_task,
        tasks(0, False, None),
        choose_backend(training, device),
        device,
        training.chunk,
    )


def choose_device(wanted: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        ValueError: if a GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ValueError(
            "device is 'cuda', but torch sees no GPU: use 'auto' or 'cpu', or install"
            " a torch build for your GPU (see docs/how-to/gpu.md)"
        )
    if wanted == "auto":
        wanted = "cuda" if available else "cpu"
    return torch.device(wanted)


def cores() -> int:
    """Cores that this process may use: its budget, where it has been given one."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def choose_backend(training: TrainingOptions, device: torch.device) -> Backend:
    """The backend of that name; "auto" suits the device.

    On a CPU clients run side by side, each on one core: torch's own threads would make
    every small operation wait for the slowest core, and the result would depend on
    how many there are.
    """
    suits = {"cpu": "threaded", "cuda": "vectorized"}[device.type]
    name = suits if training.backend == "auto" else training.backend
    if name == "threaded":
        torch.set_num_threads(1)
    at_once = (
        training.clients_at_once
        or {
            "cpu": min(cores(), training.clients_per_round),
            "cuda": training.clients_per_round,
        }[device.type]
    )
    return {
        "sequential": sequential,
        "threaded": threaded(at_once),
        "vectorized": vectorized(at_once),
    }[name]
