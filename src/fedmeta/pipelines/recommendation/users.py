"""Test users: which records they learn from, which they are judged on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from fedmeta import identity
from fedmeta.core.types import ClientId
from fedmeta.data.encoding import Encoding
from fedmeta.data.partition import partition_examples
from fedmeta.identity import Settings
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.recommendation.options import StudyOptions
from fedmeta.recommenders.unified import Records, RecordsOf


def divided(data: Data, partition: PartitionOptions, fraction: float) -> Data:
    """The data, with test clients' records divided anew: ``fraction`` is support.

    Raises:
        ValueError: where records are not kept in order.
    """
    if partition.strategy != "order" or partition.query_fraction is None:
        raise ValueError(
            f"recommendation.partition: strategy {partition.strategy!r} and"
            f" query_fraction {partition.query_fraction}; the study needs 'order' and a"
            " number, since what comes next is to be told from what came before"
        )
    tested = data.clients["client_id"].isin(data.client_split["test"])
    splits = partition_examples(
        data.clients[tested],
        fraction,
        partition.seed,
        partition.strategy,
        partition.gap,
        query_fraction=partition.query_fraction,
        min_query=partition.min_query,
    )
    return data._replace(support_query=splits)


def judged_on(data: Data, partition: PartitionOptions, study: StudyOptions) -> Settings:
    """The settings that all methods share."""
    return {
        **data.settings(),
        **identity.settings(partition=partition, study=study),
    }


class TestUser(NamedTuple):
    """A test user under one support fraction."""

    client: ClientId
    columns: dict[str, np.ndarray]  # personal: as the support lets them be seen
    support: np.ndarray  # [s] rows of the columns
    query: np.ndarray  # [q]


def test_users(data: Data, encoding: Encoding) -> Iterator[TestUser]:
    """The users of the result of `divided`, in its order."""
    clients = data.clients
    starts = dict(zip(clients["client_id"], clients["start"], strict=True))
    for row in data.partitioned.itertuples():
        rows = starts[row.client_id] + np.asarray(row.order, dtype=np.int64)
        support, query = np.split(rows, [row.num_support])
        columns = encoding.personal(data.records.columns(row.client_id), support)
        yield TestUser(row.client_id, columns, support, query)


def services_used(data: Data, encoding: Encoding) -> RecordsOf:
    """Records of the users of a partition, as the mixed network reads them."""
    ranges = {
        c.client_id: np.arange(c.start, c.stop) for c in data.clients.itertuples()
    }
    supports = {
        row.client_id: np.asarray(row.order[: row.num_support])
        for row in data.partitioned.itertuples()
    }

    def records_of(client: ClientId) -> Records:
        rows = ranges[client]
        support = rows[supports[client]]
        columns = encoding.personal(data.records.columns(client), support)
        service = torch.from_numpy(columns["service"][rows].astype(np.int64))
        previous = torch.cat([service.new_tensor([-1]), service[:-1]])
        return Records(encoding.examples(columns, rows)[0], service, previous)

    return records_of
