"""Which clients a study has."""

from __future__ import annotations

import logging

import numpy as np

from fedmeta.core.bounds import Count, Number, Seed
from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset, clients_table
from fedmeta.late import pd

log = logging.getLogger(__name__)


def select_clients(
    records: FederatedDataset,
    *,
    min_records: Number,
    max_clients: Count | None = None,
    seed: Seed = 0,
) -> pd.DataFrame:
    """The clients of enough records, with all of their records.

    Args:
        records: of any benchmark.
        min_records: clients of fewer are left out.
        max_clients: take so many at random where there are more.
        seed: of that choice.

    Returns:
        `client_id`, `start`, `stop` by id: records [start, stop) are used.

    Raises:
        DataError: when nobody is left.
    """
    rows = np.flatnonzero(records.num_examples >= min_records)
    few = np.flatnonzero(records.num_examples < min_records)
    if not len(rows):
        most = records.num_examples.max()
        raise DataError(
            f"{records.path}: none of {len(records.client_ids)} clients has "
            f"{min_records} records, the most is {most}; lower selection.min_records,"
            " to 2 at the least, or name another column as the client"
        )
    if len(few):
        log.info(
            "%d of %d clients have fewer than min_records=%d records and are left out,"
            " such as %r",
            len(few),
            len(records.client_ids),
            min_records,
            records.client_ids[few[0]],
        )
    if max_clients is not None and max_clients < len(rows):
        chosen = np.random.default_rng(seed).choice(rows, max_clients, replace=False)
        rows = np.sort(chosen)
    return clients_table(records, rows, records.num_examples[rows])
