"""Users of skewed labels: the digits of all FEMNIST writers, dealt out anew."""

from collections.abc import Mapping
from typing import Any

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.redivide import DIVISIONS
from fedmeta.data.select import select_clients
from fedmeta.models.mlp import mlp
from fedmeta.pipelines import ingestion, preparation
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.options import checked
from fedmeta.pipelines.studies.nodes import deal_out
from fedmeta.pipelines.studies.options import UserOptions

DATA = "femnist_skewed"
RECORDS = f"{DATA}.records"
SOURCE = BENCHMARKS["femnist"]
NOTE = (
    "Digits of all writers are dealt out anew to users: half hold as many of each of"
    " five digits, the others a few of one of these and many of one other."
)
SKEWED = SOURCE._replace(
    label="FEMNIST's digits, dealt out by label",
    select_clients=select_clients,
    model=mlp,
    table1={},
    table2={},
)


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse options of the data that no function takes.

    Args:
        parameters: all parameters, by name and block.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    blocks = parameters[DATA]
    users = UserOptions(**blocks["users"])
    division = DIVISIONS[users.division]
    checked(division, users.options, f"{DATA}.users.options", given=1)
    checked(SKEWED.select_clients, blocks["selection"], f"{DATA}.selection", given=1)
    checked(SKEWED.codebook, blocks["encoding"], f"{DATA}.encoding", given=2)


def create_pipeline() -> Pipeline:
    """Raw files -> users of skewed labels, prepared as any benchmark's clients are."""
    source = ingestion.create_pipeline("femnist") + preparation.create_pipeline(
        "femnist"
    )
    dealt = Node(
        bind(deal_out, benchmark=SOURCE),
        {
            "records": "femnist.records",
            "clients": "femnist.clients",
            "users": f"params:{DATA}.users",
        },
        RECORDS,
        name=f"deal_out_{DATA}",
        namespace="preparation",
    )
    return (
        source.to_outputs("femnist.clients", "femnist.records")
        + Pipeline([dealt])
        + preparation.create_pipeline(DATA, SKEWED)
    )
