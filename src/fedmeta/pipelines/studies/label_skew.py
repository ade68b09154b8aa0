"""Users of skewed labels: the digits of all FEMNIST writers, repartitioned."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.select import select_clients
from fedmeta.models.mlp import mlp
from fedmeta.pipelines import ingestion, preparation
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.studies.nodes import repartition_users

DATA = "femnist_skewed"
RECORDS = f"{DATA}.records"
SOURCE = BENCHMARKS["femnist"]
NOTE = (
    "Digits of all writers are divided among new users: half hold as many of each of"
    " five digits, the others a few of one of these and many of one other."
)
SKEWED = SOURCE._replace(
    label="FEMNIST's digits, dealt out by label",
    select_clients=select_clients,
    model=mlp,
    table1={},
    table2={},
)


def create_pipeline() -> Pipeline:
    """Raw files -> users of skewed labels, prepared as any benchmark's clients are."""
    source = ingestion.create_pipeline("femnist")
    source += preparation.create_pipeline("femnist")
    read = {name: f"femnist.{name}" for name in ("records", "clients")}
    function = bind(repartition_users, benchmark=SOURCE)
    dealt = node(function, RECORDS, DATA, "preparation", read, name="deal_out")
    return (
        source.to_outputs("femnist.clients", "femnist.records")
        + Pipeline([dealt])
        + preparation.create_pipeline(DATA, SKEWED)
    )
