"""What an experiment of a related paper consists of, and the graph of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.model import Model
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.graph import ingestion, preparation, training_outputs
from fedmeta.pipelines.studies.nodes import personalise
from fedmeta.pipelines.training.nodes import train


def runs(experiment: Experiment) -> Pipeline:
    """Prepared data -> checkpoint, history and scores of every variant."""
    personalised = [
        node(
            bind(personalise, benchmark=experiment.clients.benchmark, name=name),
            f"{experiment.home}.{name}.scores",
            experiment.home,
            name,
            {
                **shared_inputs(experiment, name),
                "checkpoint": f"{experiment.home}.{name}.checkpoint",
            },
            data=experiment.clients.home,
        )
        for name in experiment.variants
    ]
    return trainings(experiment) + Pipeline(personalised)


def trainings(experiment: Experiment) -> Pipeline:
    """Prepared data -> checkpoint and history of every variant; no test client."""
    nodes = []
    for name, variant in experiment.variants.items():
        names, home = [variant.algorithm], f"{experiment.home}.{name}"
        start = {"start": f"{experiment.home}.{variant.after}.checkpoint"}
        trained = node(
            bind(
                train, benchmark=experiment.clients.benchmark, names=names, called=name
            ),
            training_outputs(home, home),
            experiment.home,
            name,
            {
                **shared_inputs(experiment, name),
                **(start if variant.after else {}),
                "earlier": f"{home}.earlier_checkpoints",
                variant.algorithm: f"params:{home}",
            },
            data=experiment.clients.home,
        )
        nodes.append(trained)
    return Pipeline(nodes)


def shared_inputs(experiment: Experiment, name: str) -> dict[str, str]:
    """Where a variant's records, round loop and model are, by argument name."""
    variant = experiment.variants[name]
    return {
        "records": experiment.clients.records,
        "training": f"params:{experiment.home}.{variant.training}",
        "model": f"params:{experiment.home}.{variant.model}",
    }


class Variant(NamedTuple):
    """One training of an experiment; the block of its name has its options."""

    algorithm: str  # in `ALGORITHMS`
    after: str | None = None  # a variant whose initialisation it starts from
    training: str = "training"  # the block with its round loop
    model: str = "model"  # the block with its model, dotted
    factors: Mapping[str, Any] = {}  # in which it differs from the others


class Clients(NamedTuple):
    """Clients that experiments are on, prepared under a name of their own."""

    home: str  # the name
    benchmark: Benchmark  # what they are of, with the model that is trained
    records: str  # the dataset of their records
    create_pipeline: Callable[[], Pipeline]  # raw files -> what is prepared

    def with_model(self, model: Callable[..., Model]) -> Self:
        """The same clients, for whom another model is trained."""
        return self._replace(benchmark=self.benchmark._replace(model=model))


def clients_of(benchmark: str, home: str = "") -> Clients:
    """A benchmark's own clients, or others that are selected from its records."""
    home = home or benchmark
    entry, records = BENCHMARKS[benchmark], f"{benchmark}.records"

    def create_pipeline() -> Pipeline:
        prepared = preparation(home, entry, records)
        return ingestion(benchmark) + prepared

    return Clients(home, entry, records, create_pipeline)


class Experiment(NamedTuple):
    """Trainings on the same data with the same model, judged in the same way."""

    home: str  # under which name results and parameters are
    clients: Clients
    variants: Mapping[str, Variant]
    factors: Mapping[str, Any] = {}  # in which it differs from a study's others
    graph: Callable[[Experiment], Pipeline] = runs  # of its trainings and scores
