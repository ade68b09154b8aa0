"""Asking nodes which clients they hold, in place of reading and selecting records."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import name_of
from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.names import alike
from fedmeta.data.remote import RemoteRecords, from_json
from fedmeta.data.vocabularies import CLASSES, LISTS, united
from fedmeta.pipelines.preparation.nodes import encode
from fedmeta.runtime.federation.current import current
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.roster import Held
from fedmeta.runtime.on_worker import version

log = logging.getLogger(__name__)

PACKED_ALIKE = "pack all from raw data of one kind, with the same options"


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
    clients = clients.astype({"client_id": "str"})
    clients = clients.sort_values("client_id", ignore_index=True)
    made_with = identity.settings(selection=selection)
    clients.attrs["settings"] = {"data.records": records.checksum, **made_with}
    log.info("%d nodes hold %d clients", len(held), len(clients))
    return records, clients


def learn(
    benchmark: Benchmark,
    records: RemoteRecords,
    clients: pd.DataFrame,
    client_split: dict,
    encoding: dict[str, Any],
) -> Codebook:
    """As `encode`, by what nodes count over their training clients."""
    job = Job(version(), name_of(benchmark), records.selection)
    asked = replace(records, ask=lambda training: current().summary(job, training))
    return encode(benchmark, asked, clients, client_split, encoding)


def _united(held: Sequence[Held], selection: dict[str, Any]) -> RemoteRecords:
    """The records of all nodes as those of one data set.

    Raises:
        DataError: where nodes hold other kinds of records.
    """
    first = held[0]
    for other in held[1:]:
        kinds = [(_kind(node.metadata), dict(node.columns)) for node in (first, other)]
        if kinds[0] != kinds[1]:
            raise DataError(
                f"nodes {first.node} and {other.node} hold other kinds of records:"
                f" {kinds[0]} and {kinds[1]}; {PACKED_ALIKE}"
            )
    try:
        lists = united([node.metadata for node in held])
    except ValueError as error:
        raise DataError(f"nodes hold other records: {error}; {PACKED_ALIKE}") from None
    for note in alike(json.loads(lists.get(CLASSES, "[]")), CLASSES):
        log.warning("%s", note)
    names = sorted({node.metadata["name"] for node in held if "name" in node.metadata})
    metadata = {
        **first.metadata,
        **lists,
        **({"name": ", ".join(names)} if names else {}),
    }
    stops = {c: stop for node in held for c, (_, stop) in node.clients.items()}
    ids = sorted(stops)
    checksum = sum(int(node.checksum, 16) for node in held) % 2**256
    return from_json(
        {
            "client_ids": ids,
            "num_examples": [stops[c] for c in ids],
            "metadata": metadata,
            "checksum": f"{checksum:064x}",
            "shapes": first.columns,
            "selection": selection,
        }
    )


def _kind(metadata: Mapping[str, str]) -> dict[str, str]:
    """What has to be the same on all nodes."""
    differing = ("name", *LISTS)
    return {key: value for key, value in metadata.items() if key not in differing}
