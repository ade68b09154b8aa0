"""The graph of the study's methods: a usage log -> the scores of each."""

from typing import Any

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines import ingestion, preparation
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.recommendation import nodes, unified
from fedmeta.pipelines.recommendation.methods import (
    COUNTED,
    FEDERATED,
    METHODS,
    TRAINED,
)
from fedmeta.pipelines.studies.experiment import (
    Experiment,
    Variant,
    shared_inputs,
    trainings,
)
from fedmeta.pipelines.training.pipeline import data_inputs

HOME = "recommendation"
BENCHMARK = BENCHMARKS[HOME]
TRAINING = {"training": f"params:{HOME}.training"}
USERS = {
    **{name: f"{HOME}.{name}" for name in ("records", "clients", "client_split")},
    "codebook": f"{HOME}.codebook",
    "partition": f"params:{HOME}.partition",
    "study": f"params:{HOME}.study",
}


def data() -> Pipeline:
    """A usage log -> users, some to train on and others to test."""
    return ingestion.create_pipeline(HOME) + preparation.create_pipeline(HOME)


def runs(experiment: Experiment) -> Pipeline:
    """Prepared users -> the scores of every method."""
    federated = {name: experiment.variants[name] for name in FEDERATED}
    return trainings(experiment._replace(variants=federated)) + Pipeline(
        [
            *(_scored(name, nodes.score_counted, name=name) for name in COUNTED),
            *(
                _scored(
                    name,
                    nodes.score_trained,
                    {
                        **TRAINING,
                        "model": f"params:{HOME}.models.{name}",
                        "options": f"params:{HOME}.{name}",
                    },
                    name=name,
                )
                for name in TRAINED
            ),
            *_unified(),
            *(
                _scored(
                    name,
                    nodes.score_federated,
                    {
                        **shared_inputs(experiment, name),
                        "checkpoint": f"{HOME}.{name}.checkpoint",
                        "options": f"params:{HOME}.{name}",
                    },
                    name=name,
                    algorithm=method.algorithm,
                )
                for name, method in FEDERATED.items()
            ),
        ]
    )


def _scored(method: str, score: Any, inputs: dict = {}, **fixed: Any) -> Node:
    return Node(
        bind(score, benchmark=BENCHMARK, **fixed),
        {**USERS, **inputs},
        f"{HOME}.{method}.scores",
        name=f"score_{HOME}",
        namespace=method,
    )


def _unified() -> list[Node]:
    home = f"{HOME}.unified"
    shared = {**TRAINING, "options": f"params:{home}"}
    inputs = {**data_inputs(HOME), **shared, "earlier": f"{home}.earlier_checkpoints"}
    del inputs["model"]
    return [
        Node(
            bind(unified.pretrain, benchmark=BENCHMARK),
            inputs,
            [f"{home}.checkpoint", f"{home}.history"],
            name=f"train_{HOME}",
            namespace="unified",
        ),
        _scored(
            "unified",
            unified.score_unified,
            {**shared, "checkpoint": f"{home}.checkpoint"},
        ),
    ]


EXPERIMENT = Experiment(
    HOME,
    HOME,
    f"{HOME}.records",
    BENCHMARK,
    {
        name: Variant(
            method.algorithm or name,
            model=f"models.{method.model}" if method.model in TRAINED else "model",
            factors={"method": name, "label": method.label, "kind": method.kind},
        )
        for name, method in METHODS.items()
    },
    graph=runs,
)
