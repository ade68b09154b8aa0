"""Asking nodes which clients they hold, in place of reading and selecting records."""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import name_of
from fedmeta.data.errors import DataError
from fedmeta.data.remote import RemoteRecords, from_json
from fedmeta.pipelines.checks import check_selection, checked_by
from fedmeta.runtime.federation.current import current
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.roster import Held
from fedmeta.runtime.on_worker import version

log = logging.getLogger(__name__)


@checked_by(check_selection)
def ask(
    benchmark: Benchmark, selection: dict[str, Any]
) -> tuple[RemoteRecords, pd.DataFrame]:
    """What is known of the nodes' records, and the clients that the selection keeps.

    Both are as one data set of all clients would give them.
    """
    held = current().roster.held(Job(version(), name_of(benchmark), selection))
    records = _united(held, selection)
    rows = [(c, *range_) for node in held for c, range_ in node.clients.items()]
    clients = pd.DataFrame(rows, columns=["client_id", "start", "stop"])
    clients = clients.astype({"client_id": "str"}).sort_values("client_id")
    clients = clients.reset_index(drop=True)
    made_with = identity.settings(selection=selection)
    clients.attrs["settings"] = {"data.records": records.checksum, **made_with}
    log.info("%d nodes hold %d clients", len(held), len(clients))
    return records, clients


def _united(held: Sequence[Held], selection: dict[str, Any]) -> RemoteRecords:
    """The records of all nodes as those of one data set.

    Raises:
        DataError: where nodes hold other kinds of records.
    """
    first = held[0]
    for other in held[1:]:
        if (other.metadata, other.columns) != (first.metadata, first.columns):
            raise DataError(
                f"nodes {first.node} and {other.node} hold other kinds of records:"
                f" {dict(first.metadata)} {dict(first.columns)} and"
                f" {dict(other.metadata)} {dict(other.columns)}; pack both from raw"
                " data of one kind, with the same options"
            )
    stops = {c: stop for node in held for c, (_, stop) in node.clients.items()}
    ids = sorted(stops)
    checksum = sum(int(node.checksum, 16) for node in held) % 2**256
    return from_json(
        {
            "client_ids": ids,
            "num_examples": [stops[c] for c in ids],
            "metadata": dict(first.metadata),
            "checksum": f"{checksum:064x}",
            "shapes": first.columns,
            "selection": selection,
        }
    )
