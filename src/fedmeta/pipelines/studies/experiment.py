"""What an experiment of a related paper consists of, and the graph of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.studies.nodes import personalise
from fedmeta.pipelines.training.nodes import train
from fedmeta.pipelines.training.pipeline import training_outputs


def runs(experiment: Experiment) -> Pipeline:
    """Prepared data -> checkpoint, history and scores of every variant."""
    personalised = [
        node(
            bind(personalise, benchmark=experiment.benchmark, name=name),
            f"{experiment.home}.{name}.scores",
            experiment.home,
            name,
            {
                **shared_inputs(experiment, name),
                "checkpoint": f"{experiment.home}.{name}.checkpoint",
            },
            data=experiment.data,
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
            bind(train, benchmark=experiment.benchmark, names=names, called=name),
            training_outputs(home, home),
            experiment.home,
            name,
            {
                **shared_inputs(experiment, name),
                **(start if variant.after else {}),
                "earlier": f"{home}.earlier_checkpoints",
                variant.algorithm: f"params:{home}",
            },
            data=experiment.data,
        )
        nodes.append(trained)
    return Pipeline(nodes)


def shared_inputs(experiment: Experiment, name: str) -> dict[str, str]:
    """Where a variant's records, round loop and model are, by argument name."""
    variant = experiment.variants[name]
    return {
        "records": experiment.records,
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


class Experiment(NamedTuple):
    """Trainings on the same data with the same model, judged in the same way."""

    home: str  # under which name results and parameters are
    data: str  # under which name the prepared data are
    records: str  # the dataset of their records
    benchmark: Benchmark
    variants: Mapping[str, Variant]
    factors: Mapping[str, Any] = {}  # in which it differs from a study's others
    graph: Callable[[Experiment], Pipeline] = runs  # of its trainings and scores
