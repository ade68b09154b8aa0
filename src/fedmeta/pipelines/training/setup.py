"""What training and evaluation share: a model, clients' tasks, a backend."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from fedmeta import identity
from fedmeta.assembly import assemble
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.core.algorithms import ALGORITHMS, options_of
from fedmeta.core.allocator import keep_freed_memory
from fedmeta.core.compression import Compression, compressed
from fedmeta.core.evaluation import evaluate_clients, metrics_of
from fedmeta.core.model import Model
from fedmeta.core.trees import tree_map
from fedmeta.core.types import (
    Algorithm,
    Backend,
    ClientId,
    ForEachClient,
    MakeTask,
    MetaParams,
)
from fedmeta.data.encoding import Codebook
from fedmeta.data.encoding import checksum as codebook_checksum
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.ids import Ids
from fedmeta.data.partition import checksum
from fedmeta.data.remote import is_remote, of_same_shape
from fedmeta.data.tasks import pooled_task_maker, task_maker
from fedmeta.identity import Settings
from fedmeta.options import compression_from
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.pipelines.training.machine import choose_backend, choose_device, cores
from fedmeta.pipelines.training.remote import OnNodes, on_nodes


class Data(NamedTuple):
    """The prepared data of a benchmark."""

    records: FederatedDataset
    clients: pd.DataFrame
    client_split: dict[str, list[ClientId]]
    support_query: pd.DataFrame | None  # None: it is not asked which are which
    codebook: Codebook

    def settings(self) -> Settings:
        """Checksums of the data, and the options that they were made with.

        Raises:
            ValueError: if some were made from other data than these.
        """
        divided = self.support_query
        found = {
            "data.records": self.records.checksum,
            "data.clients": checksum(self.clients),
            "data.client_split": self.client_split["checksum"],
            "data.codebook": codebook_checksum(self.codebook),
            **({} if divided is None else {"data.support_query": checksum(divided)}),
        }
        for name, held in {
            "clients table": self.clients.attrs.get("settings", {}),
            "client split": self.client_split.get("settings", {}),
            "codebook": self.codebook.settings,
            "partition": {} if divided is None else divided.attrs.get("settings", {}),
        }.items():
            if names := identity.conflicts(held, found):
                raise ValueError(
                    f"the {name} was made with {identity.in_words(names, held, found)};"
                    " without --from-nodes or --nodes, it is made again"
                )
            found |= held
        return found

    def part(self, name: str) -> Sequence[ClientId]:
        """Clients of a part of the split that have support and query records.

        Raises:
            ValueError: if there is none.
        """
        left, ids = self._divided(name), self.client_split[name]
        if not left:
            raise ValueError(
                f"partition: the gap leaves none of {len(ids)} {name} clients enough"
                " query records; lower partition.gap or partition.min_query, or keep"
                " larger clients (selection)"
            )
        return left

    def _divided(self, name: str) -> Sequence[ClientId]:
        ids, divided = self.client_split[name], self.support_query
        if divided is None or len(divided) == len(self.clients):
            return ids
        there = Ids(divided["client_id"])
        return [client for client in ids if client in there]

    def participation(self, clients: int) -> float | None:
        """The share of the training clients that so many are; None: none is here."""
        trained = len(self._divided("train"))
        return min(1.0, clients / trained) if trained else None

    def without_partition(self) -> Settings:
        """Settings in place of those that do not affect a split-invariant training."""
        if self.support_query is None:
            return {}
        used = self.support_query.drop(columns=["num_support", "num_query"])
        used["order"] = used["order"].map(np.sort)
        return {
            "data.support_query": checksum(used),
            "partition.support_fraction": None,
        }


class Setup(NamedTuple):
    """A model with the means to go over clients."""

    model: Model
    algorithms: dict[str, Algorithm]  # the first is the one that is trained
    evaluation_task: MakeTask
    backend: Backend
    device: torch.device
    chunk: int  # records gone through at once
    compression: Compression | None  # of the updates that clients send
    nodes: OnNodes | None = None  # that hold the clients; None: they are here

    def updates(self, make_task: MakeTask) -> ForEachClient:
        """The backend's map of the trained algorithm's `client_update`.

        Clients compress what they send, and the server unpacks it: bytes are counted
        so. Nodes make tasks of their own, and compress too.
        """
        if self.nodes is not None:
            return self.nodes.updates
        backend, trained = self.backend, next(iter(self.algorithms.values()))
        if self.compression is not None:
            backend = compressed(backend, self.compression)
        return backend(trained.client_update, make_task)

    def placed(self, tree: Any) -> Any:
        """The tensors of a tree, on the device."""
        return tree_map(lambda leaf: leaf.to(self.device), tree)

    def metrics(self, meta: MetaParams, client: ClientId) -> list[str]:
        """Names of what the model is scored by, seen on a client."""
        return metrics_of(next(self.evaluated([*self.algorithms][0], meta, [client])))

    def evaluated(
        self, name: str, meta: MetaParams, clients: Sequence[ClientId]
    ) -> Iterator[dict[str, str | int | float]]:
        """Scores of clients under one of the algorithms: `evaluate_clients`."""
        if self.nodes is not None:
            return self.nodes.scores(name, meta, clients)
        return evaluate_clients(
            self.algorithms[name],
            self.model,
            self.placed(meta),
            clients,
            self.evaluation_task,
            self.backend,
            self.chunk,
        )


def settings_of(
    benchmark: Benchmark,
    data: Data,
    training: TrainingOptions,
    model: dict[str, Any],
    names: list[str],
    blocks: dict[str, dict[str, Any]],
    called: str | None = None,
    start: Checkpoint | None = None,
) -> Settings:
    """Settings that determine a training, but for its number of rounds.

    Takes what `prepare` takes, and

    Args:
        called: the name of the options of a training whose algorithm has another.
        start: whose parameters it starts from.
    """
    factories = {name: ALGORITHMS[name].factory for name in names}
    algorithms = {
        called or name: {**identity.named(factory), **options_of(name, blocks)}
        for name, factory in factories.items()
    }
    found = identity.settings(
        training=training.model_dump(exclude={"rounds"}),
        model={**identity.named(benchmark.model), **model},
        encoding=identity.named(benchmark.encoding),
        **algorithms,
    )
    functions = (benchmark.model, benchmark.encoding, *factories.values())
    code = identity.code("pipelines.training.nodes", *functions)
    if start is not None:
        found |= {
            "start": start.fingerprint,
            "start.rounds": start.state.round,
            "start.diverged": start.diverged is not None,
        }
    return {**found, **data.settings(), **code}


def made_with(settings: Settings) -> dict[str, Any]:
    """Attributes of results: see `fedmeta.datasets.ResultDataset`."""
    return {"settings": settings, "environment": identity.environment()}


def judged_with(
    trained: Settings, wanted: Settings, name: str, *functions: Any
) -> dict[str, Any]:
    """Attributes of scores of a checkpoint.

    Args:
        trained: what it was trained with.
        wanted: the settings of this run.
        name: whose it is, for errors.
        functions: that judge it.

    Raises:
        ValueError: if it was trained otherwise.
    """
    if names := identity.conflicts(trained, wanted):
        raise ValueError(
            f"the checkpoint of {name} was trained with"
            f" {identity.in_words(names, trained, wanted)}; without --from-nodes or"
            " --nodes, it is trained as this run wants it first"
        )
    return made_with({**trained, **wanted, **identity.code(*functions)})


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
        names: of the algorithms, the one that is trained first; none: only the model
            is wanted.
        blocks: options by the name of the block, of all that they are made from.
    """
    encoding = benchmark.encoding(data.codebook)
    factory = partial(benchmark.model, **encoding.sizes)
    network, built = assemble(
        factory,
        model,
        names,
        blocks,
        training.chunk,
        data.participation(training.clients_per_round),
    )
    device = choose_device(training.device)
    keep_freed_memory(max(cores(), training.clients_at_once or 1))
    return Setup(
        network,
        built,
        task_maker(
            data.records,
            data.clients,
            data.support_query,
            encoding,
            seed=training.seed,
            device=device,
        ),
        choose_backend(training, device),
        device,
        training.chunk,
        compression_from(training.compression) if training.compression else None,
        on_nodes(
            benchmark,
            data.records,
            data.support_query,
            data.codebook,
            training,
            model,
            names,
            blocks,
        )
        if is_remote(data.records)
        else None,
    )


def training_task_maker(
    benchmark: Benchmark,
    data: Data,
    training: TrainingOptions,
    passes: int,
    device: torch.device,
) -> MakeTask:
    """The function that draws what a client trains on in a round.

    Args:
        benchmark: with the encoding.
        data: of the clients.
        training: how records are drawn.
        passes: over all records of a task, that the algorithm needs.
        device: where tasks are put.
    """
    encoding = benchmark.encoding(data.codebook)
    common = {"seed": training.seed, "passes": passes, "device": device}
    records = of_same_shape(data.records)  # operations are counted on it
    if training.pooled is not None:
        trained = data.clients["client_id"].isin(data.part("train"))
        return pooled_task_maker(
            records,
            data.clients[trained],
            encoding,
            records=training.pooled,
            **common,
        )
    return task_maker(
        records,
        data.clients,
        data.support_query,
        encoding,
        resample=training.resample,
        episode=training.episode,
        **common,
    )
