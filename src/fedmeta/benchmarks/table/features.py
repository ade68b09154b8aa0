"""Records of a table as the input of a model, by what training clients have.

- A number is taken off its mean and divided by its standard deviation; a missing one
  becomes the mean, and where training clients miss some, a feature says so.
- A category becomes a feature of 0 or 1 for each of its most frequent values, of which
  "missing" may be one; other values, and those that no training client has, are all 0.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from fedmeta.core.bounds import Count
from fedmeta.data.encoding import Codebook, Encoding
from fedmeta.data.federated import FederatedDataset
from fedmeta.late import pd


def labels(columns: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """int32 [b]: classes by their place among all of the table's."""
    return columns["label"][rows]


def codebook(
    records: FederatedDataset, clients: pd.DataFrame, *, values: Count = 32
) -> Codebook:
    """Means and deviations of numbers, and which values of categories are told apart.

    Args:
        records: of a table.
        clients: training clients, whose used records decide.
        values: of a category, the most frequent.

    Returns:
        `mean` and `scale` float64 [p], `missing` bool [p] and, for the category number
        i, `place_i` int64 [values + 1]: of each value's feature, the last of a missing
        one, -1 without; `classes` [].
    """
    numbers = json.loads(records.metadata["numbers"])
    known = json.loads(records.metadata["categories"])
    spans = list(clients[["client_id", "start", "stop"]].itertuples(index=False))
    tables = {"classes": torch.tensor(len(json.loads(records.metadata["classes"])))}
    tables |= _moments(records, spans, len(numbers))
    counts = [np.zeros(len(texts) + 1, np.int64) for texts in known.values()]
    for client, start, stop in spans if known else ():
        codes = records.columns(client)["categories"][start:stop]
        for column, count in enumerate(counts):
            np.add.at(count, codes[:, column], 1)  # -1, missing, is the last
    told = []
    for number, (name, count) in enumerate(zip(known, counts, strict=True)):
        # a stable order: of equally frequent values the first in the alphabet
        best = np.argsort(-count, kind="stable")[:values]
        best = best[count[best] > 0]
        place = np.full(len(count), -1, np.int64)
        place[best] = np.arange(len(best))
        tables[f"place_{number}"] = torch.from_numpy(place)
        told.append(f"{name} {len(best)} of {(count > 0).sum():,}")
    marks = int(tables["missing"].sum())
    said = [
        *([f"standardised numbers ({len(numbers)})"] if numbers else []),
        *([f"which of these are missing ({marks})"] if marks else []),
        *([f"values of categories as 0 or 1 ({', '.join(told)})"] if told else []),
    ]
    order = "in order of time" if records.metadata["ordered"] == "true" else "unordered"
    return Codebook(
        tables,
        f"Features, by {len(spans):,} training clients: {'; '.join(said)}. A client's "
        f"records are {order}.",
    )


def encoding(codebook: Codebook) -> Encoding:
    """x float32 [b, features], y int64 [b]; `sizes` are `features` and `classes`."""
    tables = {name: table.numpy() for name, table in codebook.tables.items()}
    mean, scale, marked = (tables[name] for name in ("mean", "scale", "missing"))
    places = [tables[f"place_{n}"] for n in range(sum("place_" in t for t in tables))]
    widths = [int(place.max(initial=-1)) + 1 for place in places]
    first = np.cumsum([len(mean) + int(marked.sum()), *widths])
    features = int(first[-1])

    def examples(
        columns: dict[str, np.ndarray], rows: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        x = np.zeros((len(rows), features), np.float32)
        if len(mean):
            numbers = columns["numbers"][rows]
            there = ~np.isnan(numbers)
            x[:, : len(mean)] = np.where(there, (numbers - mean) / scale, 0)
            x[:, len(mean) : first[0]] = ~there[:, marked]
        for number, place in enumerate(places):
            own = place[columns["categories"][rows, number]]
            row = np.flatnonzero(own >= 0)
            x[row, first[number] + own[row]] = 1
        y = columns["label"][rows].astype(np.int64)
        return torch.from_numpy(x), torch.from_numpy(y)

    sizes = {"features": features, "classes": int(tables["classes"])}
    return Encoding(examples, sizes)


def _moments(
    records: FederatedDataset, spans: list[tuple[str, int, int]], width: int
) -> dict[str, Tensor]:
    """Mean, deviation (1 of a constant) and whether any is missing, of each number."""

    def summed(deviation: bool, around: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total, count = np.zeros(width), np.zeros(width)
        for client, start, stop in spans if width else ():
            own = records.columns(client)["numbers"][start:stop] - around
            total += np.nansum(own**2 if deviation else own, axis=0)
            count += (~np.isnan(own)).sum(axis=0)
        return total / np.maximum(count, 1), count

    mean, count = summed(False, np.zeros(width))
    variance, _ = summed(True, mean)
    rows = sum(stop - start for _, start, stop in spans)
    scale = np.where(variance > 0, np.sqrt(variance), 1)
    return {
        "mean": torch.from_numpy(mean),
        "scale": torch.from_numpy(scale),
        "missing": torch.from_numpy(count < rows),
    }
