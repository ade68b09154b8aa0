"""The graph of the study's methods: a usage log -> the scores of each."""

from collections.abc import Mapping
from typing import Any

from kedro.pipeline import Node, Pipeline

from fedmeta.pipelines.binding import bind, node
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
    clients_of,
    shared_inputs,
    trainings,
)

HOME = "recommendation"
CLIENTS = clients_of(HOME)
BENCHMARK = CLIENTS.benchmark


def runs(experiment: Experiment) -> Pipeline:
    """Prepared users -> the scores of every method."""
    federated = {name: experiment.variants[name] for name in FEDERATED}
    found = [_scored(name, nodes.score_counted, {}, name=name) for name in COUNTED]
    for name in TRAINED:
        own = {
            "model": f"params:{HOME}.models.{name}",
            "options": f"params:{HOME}.{name}",
        }
        found.append(_scored(name, nodes.score_trained, own, name=name))
    own = {"options": f"params:{HOME}.unified"}
    found.append(
        node(
            bind(unified.pretrain, benchmark=BENCHMARK),
            [f"{HOME}.unified.{made}" for made in ("checkpoint", "history")],
            HOME,
            "unified",
            {**own, "earlier": f"{HOME}.unified.earlier_checkpoints"},
            name="train",
        )
    )
    read = {**own, "checkpoint": f"{HOME}.unified.checkpoint"}
    found.append(_scored("unified", unified.score_unified, read))
    for name, method in FEDERATED.items():
        read = {
            **shared_inputs(experiment, name),
            "checkpoint": f"{HOME}.{name}.checkpoint",
            "options": f"params:{HOME}.{name}",
        }
        fixed = {"name": name, "algorithm": method.algorithm}
        found.append(_scored(name, nodes.score_federated, read, **fixed))
    return trainings(experiment._replace(variants=federated)) + Pipeline(found)


def _scored(method: str, score: Any, inputs: Mapping[str, str], **fixed: Any) -> Node:
    function, home = bind(score, benchmark=BENCHMARK, **fixed), f"{HOME}.{method}"
    return node(function, f"{home}.scores", HOME, method, inputs, name="score")


EXPERIMENT = Experiment(
    HOME,
    CLIENTS,
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
