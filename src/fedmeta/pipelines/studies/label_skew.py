"""Users of skewed labels: the digits of all FEMNIST writers, repartitioned."""

from kedro.pipeline import Pipeline

from fedmeta.data.select import select_clients
from fedmeta.models.mlp import mlp
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.graph import preparation
from fedmeta.pipelines.studies.experiment import Clients, clients_of
from fedmeta.pipelines.studies.nodes import repartition_users

HOME = "femnist_skewed"
SOURCE = clients_of("femnist")
NOTE = (
    "Digits of all writers are divided among new users: half hold as many of each of"
    " five digits, the others a few of one of these and many of one other."
)
BENCHMARK = SOURCE.benchmark._replace(
    label="FEMNIST's digits, dealt out by label",
    select_clients=select_clients,
    model=mlp,
    table1={},
    table2={},
)


def create_pipeline() -> Pipeline:
    """Raw files -> users of skewed labels, prepared as any benchmark's clients are."""
    read = {name: f"femnist.{name}" for name in ("records", "clients")}
    function = bind(repartition_users, benchmark=SOURCE.benchmark)
    dealt = node(function, SKEWED.records, HOME, "preparation", read, name="deal_out")
    return (
        SOURCE.create_pipeline().to_outputs(*read.values())
        + Pipeline([dealt])
        + preparation(HOME, BENCHMARK, SKEWED.records)
    )


SKEWED = Clients(HOME, BENCHMARK, f"{HOME}.records", create_pipeline)
