"""Which users a study has."""

import numpy as np
import pandas as pd

from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.statistics import Reference

# Table 1 of Chen et al. 2018: value and accepted relative deviation. Whether LEAF's
# sampling came before is not known, so counts are held to a few per cent.
TABLE1 = {
    "clients": Reference(3790, 0.03),
    "samples": Reference(171_809, 0.03),
    "classes": Reference(2),
    "samples_mean": Reference(45, 0.03),
    "samples_sd": Reference(28, 0.03),
    "classes_min": Reference(1),
    "classes_max": Reference(2),
}


def select_clients(
    records: FederatedDataset,
    *,
    min_records: int,
    max_clients: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The users of enough tweets, with all of their tweets.

    Args:
        records: of Sent140's columns.
        min_records: users of fewer tweets are left out; the paper's k is 25.
        max_clients: take so many at random where there are more, as the paper's 3,790.
        seed: of that choice.

    Returns:
        `client_id`, `start`, `stop` by id: records [start, stop) are used.

    Raises:
        DataError: when nobody is left.
    """
    rows = np.flatnonzero(records.num_examples >= min_records)
    if not len(rows):
        most = records.num_examples.max()
        raise DataError(
            f"{records.path}: none of {len(records.client_ids)} clients has "
            f"{min_records} records, the most is {most}; lower min_records"
        )
    if max_clients is not None and max_clients < len(rows):
        chosen = np.random.default_rng(seed).choice(rows, max_clients, replace=False)
        rows = np.sort(chosen)
    return pd.DataFrame(
        {
            "client_id": [records.client_ids[row] for row in rows],
            "start": np.zeros(len(rows), dtype=np.int64),
            "stop": records.num_examples[rows],
        }
    )
