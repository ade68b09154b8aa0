"""Client filtering, client split, support/query partition, codebook, statistics."""

import logging
from typing import Any

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.partition import (
    checksum,
    partition_examples,
    split_clients,
)
from fedmeta.data.remote import is_remote
from fedmeta.data.statistics import client_statistics
from fedmeta.identity import Settings
from fedmeta.options import build
from fedmeta.pipelines.options import PartitionOptions

log = logging.getLogger(__name__)


def select(
    benchmark: Benchmark, records: FederatedDataset, selection: dict[str, Any]
) -> pd.DataFrame:
    """The clients and the range of their records that are used."""
    clients = build(benchmark.select_clients, selection, "selection", records)
    made_with = identity.settings(selection=selection)
    clients.attrs["settings"] = {"data.records": records.checksum, **made_with}
    return clients


def describe(
    benchmark: Benchmark, records: FederatedDataset, clients: pd.DataFrame
) -> pd.DataFrame:
    """Table 1: statistics of the used records, beside the paper's for its own data."""
    paper = None if records.stands_in else benchmark.table1
    labels = None if is_remote(records) else benchmark.labels
    table = client_statistics(clients, records, labels, paper)
    table.attrs["settings"] = _settings(clients)
    return table


def split(clients: pd.DataFrame, partition: PartitionOptions) -> dict:
    """Training, validation and test clients."""
    ids = clients["client_id"].tolist()
    made = split_clients(ids, partition.clients, partition.seed)
    made_with = partition.model_dump(include={"clients", "seed"})
    return {**made, "settings": _settings(clients, partition=made_with)}


def divide(
    benchmark: Benchmark,
    records: FederatedDataset,
    clients: pd.DataFrame,
    partition: PartitionOptions,
) -> pd.DataFrame:
    """Support and query records of each client that the gap leaves enough of."""
    divided = partition_examples(
        clients,
        partition.support_fraction,
        partition.seed,
        partition.strategy,
        partition.gap,
        records,
        None if is_remote(records) else benchmark.labels,
        partition.query_fraction,
        partition.min_query,
    )
    if left_out := len(clients) - len(divided):
        log.warning(
            "%d of %d clients take no part: a gap of %d records between support and"
            " query leaves them fewer than %d query records",
            left_out,
            len(clients),
            partition.gap,
            partition.min_query,
        )
    divided.attrs["settings"] = _settings(clients, partition=partition.model_dump())
    return divided


def encode(
    benchmark: Benchmark,
    records: FederatedDataset,
    clients: pd.DataFrame,
    client_split: dict,
    encoding: dict[str, Any],
) -> Codebook:
    """What turns records into the input of a model, from the training clients."""
    training = clients[clients["client_id"].isin(client_split["train"])]
    made = build(benchmark.codebook, encoding, "encoding", records, training)
    made_with = _settings(clients, encoding=encoding)
    made_with["data.client_split"] = client_split["checksum"]
    return made._replace(settings=made_with)


def _settings(clients: pd.DataFrame, **options: Any) -> Settings:
    """Of what is made from the clients table: those of the table, and its own."""
    return {
        **clients.attrs.get("settings", {}),
        "data.clients": checksum(clients),
        **identity.settings(**options),
    }
