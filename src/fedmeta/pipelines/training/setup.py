"""What training and evaluation share: a model, clients' tasks, a backend."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from fedmeta import identity
from fedmeta.assembly import assemble
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.core.algorithms import ALGORITHMS, options_of
from fedmeta.core.allocator import keep_freed_memory
from fedmeta.core.compression import Compression, compressed
from fedmeta.core.evaluation import evaluate_clients
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
from fedmeta.data.remote import is_remote, of_same_shape
from fedmeta.data.tasks import pooled_task_maker, task_maker
from fedmeta.identity import ROUNDS, Settings
from fedmeta.options import compression_from
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.pipelines.training.machine import choose_backend, choose_device, cores
from fedmeta.pipelines.training.remote import OnNodes, on_nodes


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


class TrainingPlan(NamedTuple):
    """A training: its data, model and algorithms, with all options."""

    benchmark: Benchmark
    data: Data
    training: TrainingOptions
    model: dict[str, Any]  # options
    # Of the algorithms, the one that is trained first; none: only the model is wanted.
    names: list[str] = []
    # Options by the name of the block, of all that the algorithms are made from.
    blocks: dict[str, dict[str, Any]] = {}
    # The name of its options, where that is not the algorithm's.
    called: str | None = None
    start: Checkpoint | None = None  # whose parameters it starts from

    @property
    def label(self) -> str:
        """What it is called in the log."""
        return self.called or self.names[-1]

    def settings(self) -> Settings:
        """Settings that determine a training, but for its number of rounds."""
        benchmark = self.benchmark
        factories = {name: ALGORITHMS[name].factory for name in self.names}
        algorithms = {
            self.called or name: {
                **identity.named(factory),
                **options_of(name, self.blocks),
            }
            for name, factory in factories.items()
        }
        found = identity.settings(
            training=self.training.model_dump(exclude={"rounds"}),
            model={**identity.named(benchmark.model), **self.model},
            encoding=identity.named(benchmark.encoding),
            **algorithms,
        )
        functions = (benchmark.model, benchmark.encoding, *factories.values())
        code = identity.code("pipelines.training.nodes", *functions)
        if self.start is not None:
            found |= {
                "start": self.start.fingerprint,
                "start.rounds": self.start.state.round,
                "start.diverged": self.start.diverged is not None,
            }
        return {**found, **self.data.settings(), **code}

    def origin(
        self, checkpoint: Checkpoint, name: str, function: Any, more: Settings = {}
    ) -> dict[str, Any]:
        """Attributes of the scores of a checkpoint, as `judged_with` has them.

        Args:
            checkpoint: whose parameters are judged.
            name: whose it is, for errors.
            function: that judges it.
            more: settings that only the judgement has.
        """
        wanted = {**self.settings(), **more, ROUNDS: self.training.rounds}
        return judged_with(checkpoint.reached, wanted, name, function)

    def prepare(self) -> Setup:
        """Build the model and the algorithms; say how clients are run."""
        data, training = self.data, self.training
        encoding = self.benchmark.encoding(data.codebook)
        network, built = assemble(
            partial(self.benchmark.model, **encoding.sizes),
            self.model,
            self.names,
            self.blocks,
            training.chunk,
            data.population,
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
            on_nodes(self) if is_remote(data.records) else None,
        )

    def training_task_maker(self, passes: int, device: torch.device) -> MakeTask:
        """The function that draws what a client trains on in a round.

        Args:
            passes: over all records of a task, that the algorithm needs.
            device: where tasks are put.
        """
        data, training = self.data, self.training
        encoding = self.benchmark.encoding(data.codebook)
        common: Any = {"seed": training.seed, "passes": passes, "device": device}
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
    if names := identity.apart(trained, wanted):
        raise ValueError(
            f"the checkpoint of {name} was trained with"
            f" {identity.in_words(names, trained, wanted)}; without --from-nodes or"
            " --nodes, it is trained as this run wants it first"
        )
    return made_with({**trained, **wanted, **identity.code(*functions)})
