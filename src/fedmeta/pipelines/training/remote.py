"""Clients whose records are on nodes: their part of a training, asked for there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from fedmeta.benchmarks.registry import name_of
from fedmeta.core.types import ClientId, ClientOutput, MetaParams
from fedmeta.data.encoding import Codebook, checksum
from fedmeta.data.errors import DataError
from fedmeta.data.ids import Ids
from fedmeta.data.remote import RemoteRecords
from fedmeta.data.states import LastRounds
from fedmeta.data.vocabularies import LISTS
from fedmeta.runtime.federation.current import current
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.rounds import Federation
from fedmeta.runtime.on_worker import version

if TYPE_CHECKING:
    from fedmeta.pipelines.training.setup import TrainingPlan


class OnNodes(NamedTuple):
    """A job for the nodes of a federation."""

    federation: Federation
    job: Job
    codebook: Codebook
    kept: LastRounds  # of clients, by the nodes

    def updates(
        self, meta: MetaParams, cohort: Sequence[ClientId], round_number: int
    ) -> Iterator[tuple[ClientId, ClientOutput]]:
        """As a backend's map of `client_update`, without clients that are lost."""
        after, settled = self.kept.of(cohort), self.kept.settled
        return self.federation.updates(
            self.job, self.codebook, meta, cohort, round_number, after, settled
        )

    def scores(
        self, name: str, meta: MetaParams, clients: Sequence[ClientId]
    ) -> Iterator[dict[str, str | int | float]]:
        """As `fedmeta.core.evaluation.evaluate_clients`, of one of the algorithms."""
        return self.federation.scores(self.job, self.codebook, name, meta, clients)


def on_nodes(plan: TrainingPlan) -> OnNodes:
    """The job of a training for the nodes that hold its clients.

    Raises:
        DataError: for options that need the records in one place.
    """
    training, table = plan.training, plan.data.partitioned
    records = cast(RemoteRecords, plan.data.records)
    for option in ("pooled", "probe"):
        if getattr(training, option) is not None:
            raise DataError(
                f"training.{option} needs the records in one place, and these stay on"
                " nodes; set it to null"
            )
    divided = {
        name.removeprefix("partition."): value
        for name, value in table.attrs["settings"].items()
        if name.startswith("partition.") and name != "partition.clients"
    }
    job = Job(
        version(),
        name_of(plan.benchmark),
        records.selection,
        divided,
        plan.model,
        plan.names,
        plan.blocks,
        checksum(plan.data.codebook),
        training.model_dump(mode="json", include={"seed", "resample", "episode"}),
        training.compression,
        training.chunk,
        {name: records.metadata[name] for name in LISTS if name in records.metadata},
    )
    kept = LastRounds(Ids(table["client_id"]))
    return OnNodes(current(), job, plan.data.codebook, kept)
