"""Client filtering, client split, support/query partition, statistics."""

import pandas as pd

from fedmeta.benchmarks.registry import Benchmark
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.partition import partition_examples, split_clients
from fedmeta.data.statistics import client_statistics
from fedmeta.pipelines.options import PartitionOptions, SelectionOptions


def select(
    benchmark: Benchmark, records: FederatedDataset, selection: SelectionOptions
) -> pd.DataFrame:
    """The clients and the range of their records that are used."""
    return benchmark.select_clients(records, **selection.model_dump())


def describe(
    benchmark: Benchmark, records: FederatedDataset, clients: pd.DataFrame
) -> pd.DataFrame:
    """Table 1: statistics of the used records, beside the paper's for real data."""
    synthetic = records.metadata["synthetic"] == "true"
    return client_statistics(clients, records, None if synthetic else benchmark.table1)


def split(clients: pd.DataFrame, partition: PartitionOptions) -> dict:
    """Training, validation and test clients."""
    ids = clients["client_id"].tolist()
    return split_clients(ids, partition.clients, partition.seed)


def divide(
    records: FederatedDataset, clients: pd.DataFrame, partition: PartitionOptions
) -> pd.DataFrame:
    """Each client's support and query records."""
    return partition_examples(
        clients,
        partition.support_fraction,
        partition.seed,
        partition.strategy,
        records,
    )
