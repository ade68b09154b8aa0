"""How far clients' data are from each other: by their labels and by their features.

Fallah et al. 2020 (https://arxiv.org/abs/2002.07948) bound how well one shared model
suits all clients by these two distances between their distributions.
"""

from collections.abc import Sequence
from itertools import combinations
from zlib import crc32

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist, pdist

from fedmeta.data.encoding import Examples, Labels
from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset


def client_distances(
    records: FederatedDataset,
    clients: pd.DataFrame,
    client_ids: Sequence[str],
    labels: Labels,
    features: Examples,
    *,
    sample: int,
    seed: int,
) -> pd.DataFrame:
    """Distances between all pairs of clients.

    The distance of features is that between samples, as many records of every client:
    even of two samples of one distribution it is not zero, the less so the more
    dimensions the features have. So pairs are to be compared with pairs.

    Args:
        records: packed records.
        clients: `client_id`, `start`, `stop`: the records that are used of each.
        client_ids: the clients to compare, two or more.
        labels: classes of records.
        features: makes the x of records, flattened; Euclidean distance lies between.
        sample: records taken of each client; all take fewer where one has fewer.
        seed: with the client's id, of the records taken.

    Returns:
        `first`, `second` in the order of ``client_ids``; `label_tv`, total variation
        between the shares of classes among all records, in [0, 1]; `feature_w1`,
        1-Wasserstein distance of the samples.

    Raises:
        DataError: for a client that is not in the table or a sample of no record.
    """
    table = clients.set_index("client_id")
    unknown = [client for client in client_ids if client not in table.index]
    if unknown:
        raise DataError(
            f"distances: no client {unknown[0]!r} in the clients table of "
            f"{len(table)}; name clients that are in it"
        )
    if sample < 1:
        raise DataError(f"distances: sample is {sample}; expected 1 record or more")
    table = table.loc[list(client_ids)]
    size = min(sample, (table["stop"] - table["start"]).min())
    classes, points = [], []
    for client in table.itertuples():
        columns = records.columns(client.Index)
        used = np.arange(client.start, client.stop)
        classes.append(labels(columns, used))
        rng = np.random.default_rng([seed, crc32(client.Index.encode())])
        x, _ = features(columns, rng.choice(used, size, replace=False))
        points.append(x.reshape(size, -1).double().numpy())
    pairs = pd.DataFrame(combinations(client_ids, 2), columns=["first", "second"])
    return pairs.assign(
        label_tv=pdist(_shares(classes), "cityblock") / 2,
        feature_w1=[_wasserstein(a, b) for a, b in combinations(points, 2)],
    )


def _shares(labels: list[np.ndarray]) -> np.ndarray:
    """[clients, classes] what part of a client's records is of a class."""
    classes = np.unique(np.concatenate(labels))
    return np.array([(own[:, None] == classes).mean(axis=0) for own in labels])


def _wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """1-Wasserstein distance of two sets of equally many points [n, d].

    Between uniform weights on equally many points some best coupling is a permutation
    (Birkhoff), so that it is an assignment problem, solved exactly.
    """
    costs = cdist(a, b)
    return costs[linear_sum_assignment(costs)].mean()
