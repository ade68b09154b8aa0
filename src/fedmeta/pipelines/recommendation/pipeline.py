"""The graph of the study."""

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines import ingestion, preparation
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.recommendation import nodes, report
from fedmeta.pipelines.recommendation.methods import (
    COUNTED,
    FEDERATED,
    METHODS,
    TRAINED,
)
from fedmeta.pipelines.training.nodes import train
from fedmeta.pipelines.training.pipeline import data_inputs, training_outputs

HOME = "recommendation"
TABLES = ("table3", "users")
BENCHMARK = BENCHMARKS[HOME]
SPLIT = {name: f"{HOME}.{name}" for name in ("records", "clients", "client_split")}
USERS = {
    **SPLIT,
    "codebook": f"{HOME}.codebook",
    "partition": f"params:{HOME}.partition",
    "study": f"params:{HOME}.study",
}


def create_pipeline() -> Pipeline:
    """A usage log -> Table 3, Figures 6 and 7, one HTML page."""
    return (
        ingestion.create_pipeline(HOME)
        + preparation.create_pipeline(HOME)
        + Pipeline([_counted(name) for name in COUNTED])
        + Pipeline([_trained(name) for name in TRAINED])
        + Pipeline(_unified())
        + sum((Pipeline(_federated(name)) for name in FEDERATED), Pipeline([]))
        + Pipeline(_report())
    )


def _counted(name: str) -> Node:
    return Node(
        bind(nodes.score_counted, benchmark=BENCHMARK, name=name),
        USERS,
        f"{HOME}.{name}.scores",
        name=f"score_{HOME}",
        namespace=name,
    )


def _trained(name: str) -> Node:
    return Node(
        bind(nodes.score_trained, benchmark=BENCHMARK, name=name),
        {
            **USERS,
            "training": f"params:{HOME}.training",
            "model": f"params:{HOME}.models.{name}",
            "options": f"params:{HOME}.{name}",
        },
        f"{HOME}.{name}.scores",
        name=f"score_{HOME}",
        namespace=name,
    )


def _unified() -> list[Node]:
    home = f"{HOME}.unified"
    shared = {"training": f"params:{HOME}.training", "options": f"params:{home}"}
    data = data_inputs(HOME)
    del data["model"]
    return [
        Node(
            bind(nodes.pretrain, benchmark=BENCHMARK),
            {**data, **shared, "earlier": f"{home}.earlier_checkpoints"},
            [f"{home}.checkpoint", f"{home}.history"],
            name=f"train_{HOME}",
            namespace="unified",
        ),
        Node(
            bind(nodes.score_unified, benchmark=BENCHMARK),
            {**USERS, **shared, "checkpoint": f"{home}.checkpoint"},
            f"{home}.scores",
            name=f"score_{HOME}",
            namespace="unified",
        ),
    ]


def _federated(name: str) -> list[Node]:
    method, home = FEDERATED[name], f"{HOME}.{name}"
    data = {**data_inputs(HOME), "model": f"params:{HOME}.models.{method.model}"}
    return [
        Node(
            bind(train, benchmark=BENCHMARK, names=[method.algorithm], called=name),
            {
                **data,
                "earlier": f"{home}.earlier_checkpoints",
                "partition": f"params:{HOME}.partition",
                method.algorithm: f"params:{home}",
            },
            training_outputs(home, home),
            name=f"train_{HOME}",
            namespace=name,
        ),
        Node(
            bind(
                nodes.score_federated,
                benchmark=BENCHMARK,
                name=name,
                algorithm=method.algorithm,
            ),
            {
                **data,
                **USERS,
                "checkpoint": f"{home}.checkpoint",
                "options": f"params:{home}",
            },
            f"{home}.scores",
            name=f"score_{HOME}",
            namespace=name,
        ),
    ]


def _report() -> list[Node]:
    home = f"{HOME}.report"
    scores = {f"{name}_scores": f"{HOME}.{name}.scores" for name in METHODS}
    histories = {f"{name}_history": f"{HOME}.{name}.history" for name in FEDERATED}
    shared = {
        "records": f"{HOME}.records",
        "codebook": f"{HOME}.codebook",
        "models": f"params:{HOME}.models",
        "unified": f"{HOME}.unified.checkpoint",
        **scores,
    }
    return [
        Node(
            bind(report.tabulate, benchmark=BENCHMARK),
            shared,
            [f"{home}.{table}_table" for table in TABLES],
            name=f"tabulate_{HOME}",
            namespace="report",
        ),
        Node(
            bind(report.draw, benchmark=BENCHMARK),
            {**shared, **histories},
            [f"{home}.{figure}_figure" for figure in report.FIGURES],
            name=f"draw_{HOME}",
            namespace="report",
        ),
        Node(
            bind(report.compose, benchmark=BENCHMARK),
            {
                **shared,
                **histories,
                "statistics": f"{HOME}.statistics",
                "table": f"{home}.table3_table",
                "users": f"{home}.users_table",
                "partition": f"params:{HOME}.partition",
            },
            f"{home}.page",
            name=f"compose_{HOME}",
            namespace="report",
        ),
    ]
