"""Client filtering, client split, support/query partition, codebook, statistics."""

import logging
from typing import Any

import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.partition import partition_examples, shrunk_gaps, split_clients
from fedmeta.data.statistics import client_statistics
from fedmeta.pipelines.checks import check_encoding, check_selection, checked_by
from fedmeta.pipelines.options import PartitionOptions, build

log = logging.getLogger(__name__)


@checked_by(check_selection)
def select(
    benchmark: Benchmark, records: FederatedDataset, selection: dict[str, Any]
) -> pd.DataFrame:
    """The clients and the range of their records that are used."""
    return build(benchmark.select_clients, selection, "selection", records)


def describe(
    benchmark: Benchmark, records: FederatedDataset, clients: pd.DataFrame
) -> pd.DataFrame:
    """Table 1: statistics of the used records, beside the paper's for its own data."""
    paper = None if records.stands_in else benchmark.table1
    return client_statistics(clients, records, benchmark.labels, paper)


def split(clients: pd.DataFrame, partition: PartitionOptions) -> dict:
    """Training, validation and test clients."""
    ids = clients["client_id"].tolist()
    return split_clients(ids, partition.clients, partition.seed)


def divide(
    benchmark: Benchmark,
    records: FederatedDataset,
    clients: pd.DataFrame,
    partition: PartitionOptions,
) -> pd.DataFrame:
    """Each client's support and query records."""
    divided = partition_examples(
        clients,
        partition.support_fraction,
        partition.seed,
        partition.strategy,
        partition.gap,
        records,
        benchmark.labels,
        partition.query_fraction,
    )
    shrunk = shrunk_gaps(clients, divided, partition.gap)
    if shrunk:
        log.warning(
            "%d of %d clients are too small for a gap of %d records between support"
            " and query, and have a smaller one",
            shrunk,
            len(clients),
            partition.gap,
        )
    return divided


@checked_by(check_encoding)
def encode(
    benchmark: Benchmark,
    records: FederatedDataset,
    clients: pd.DataFrame,
    client_split: dict,
    encoding: dict[str, Any],
) -> Codebook:
    """What turns records into the input of a model, from the training clients."""
    training = clients[clients["client_id"].isin(client_split["train"])]
    return build(benchmark.codebook, encoding, "encoding", records, training)
