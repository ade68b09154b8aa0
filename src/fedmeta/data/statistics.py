"""The statistics of Table 1 (Chen et al. 2018), beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fedmeta.data.encoding import Labels
from fedmeta.data.errors import check_known
from fedmeta.data.federated import FederatedDataset
from fedmeta.late import pd


class Reference(NamedTuple):
    """A published value and how far from it is accepted."""

    value: float
    tolerance: float = 0.0  # relative; 0 means equal


# name of the quantity -> what a reader of the table is told
QUANTITIES = {
    "clients": "clients",
    "samples": "samples",
    "classes": "classes",
    "samples_mean": "samples a client, mean",
    "samples_sd": "samples a client, population standard deviation",
    "classes_min": "classes a client, fewest",
    "classes_max": "classes a client, most",
}


def client_statistics(
    clients: pd.DataFrame,
    dataset: FederatedDataset,
    labels: Labels | None,
    paper: Mapping[str, Reference] | None = None,
) -> pd.DataFrame:
    """Statistics of the records that a clients table uses.

    Args:
        clients: `client_id`, `start`, `stop`.
        dataset: the records.
        labels: their classes; None: they are not known, and not told of.
        paper: quantity (a key of `QUANTITIES`) -> its published value.

    Returns:
        A row a quantity: `quantity`, `description`, `value`, `paper`, `tolerance`
        (both NaN where none is given) and `verdict`: "within", "outside" or "".
    """
    paper = paper or {}
    for name in sorted(paper):
        check_known(name, QUANTITIES, "statistic")
    sizes = (clients["stop"] - clients["start"]).to_numpy()
    values = {
        "clients": len(clients),
        "samples": sizes.sum(),
        "samples_mean": sizes.mean(),
        "samples_sd": sizes.std(),
        **({} if labels is None else _of_classes(clients, dataset, labels)),
    }
    rows = []
    for name, description in QUANTITIES.items():
        if name not in values:
            continue
        value, verdict = float(values[name]), ""
        reference = paper.get(name, Reference(np.nan, np.nan))
        if name in paper:
            near = abs(value - reference.value) <= reference.tolerance * reference.value
            verdict = "within" if near else "outside"
        rows.append((name, description, value, *reference, verdict))
    columns = ["quantity", "description", "value", "paper", "tolerance", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _of_classes(
    clients: pd.DataFrame, dataset: FederatedDataset, labels: Labels
) -> dict[str, float]:
    present: set[int] = set()
    classes = np.empty(len(clients), dtype=np.int64)
    for row, c in enumerate(clients.itertuples()):
        own = np.unique(
            labels(dataset.columns(c.client_id), np.arange(c.start, c.stop))
        )
        classes[row] = len(own)
        present.update(own.tolist())
    return {
        "classes": len(present),
        "classes_min": classes.min(),
        "classes_max": classes.max(),
    }
