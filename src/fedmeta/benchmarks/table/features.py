"""Records of a table as the input of a model, by what training clients have.

- A number is taken off its mean and divided by its standard deviation; a missing one
  becomes the mean, and where training clients miss some, a feature says so.
- A category becomes a feature of 0 or 1 for each of its most frequent values, of which
  "missing" may be one; other values, and those that no training client has, are all 0.
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from torch import Tensor

from fedmeta.core.bounds import Count
from fedmeta.data import exact
from fedmeta.data.encoding import Codebook, Encoding, labelled
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.summaries import Counts, Spans, Summary, parts, summary_of
from fedmeta.data.vocabularies import several_classes
from fedmeta.late import pd


def summary(records: FederatedDataset, spans: Spans) -> Summary:
    """Sums of the numbers and of their squares, and how often each category occurs.

    Returns:
        `records`; by column, of those that are not missing, `present`, `sum` and
        `squares`, in the units of `exact.sums`; and `values of ...` each category, ""
        for a missing one.
    """
    numbers = json.loads(records.metadata["numbers"])
    known = json.loads(records.metadata["categories"])
    sums: tuple[Counts, ...] = tuple(dict.fromkeys(numbers, 0) for _ in range(3))
    for part in parts(records, spans, "numbers") if numbers else ():
        for name, column in zip(numbers, part.T, strict=True):
            present = column[~np.isnan(column)]
            own = len(present), *exact.sums(present)
            for total, more in zip(sums, own, strict=True):
                total[name] += more
    counts = [np.zeros(len(texts) + 1, np.int64) for texts in known.values()]
    for part in parts(records, spans, "categories") if known else ():
        for count, column in zip(counts, part.T, strict=True):
            count += np.bincount(column + 1, minlength=len(count))  # noqa: PLW2901
    return {
        "records": {"all": sum(stop - start for _, start, stop in spans)},
        **dict(zip(("present", "sum", "squares"), sums, strict=True)),
        **{
            f"values of {name}": dict(zip(["", *texts], count.tolist(), strict=True))
            for (name, texts), count in zip(known.items(), counts, strict=True)
        },
    }


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
    counted = summary_of(records, clients, summary)
    tables = {"classes": torch.tensor(len(several_classes(records)))}
    tables |= _moments(counted, numbers)
    told = []
    for number, (name, texts) in enumerate(known.items()):
        times = counted[f"values of {name}"]
        count = np.array([times.get(text, 0) for text in (*texts, "")])
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
        f"Features, by {len(clients):,} training clients: {'; '.join(said)}. A"
        f" client's records are {order}.",
    )


def encoding(codebook: Codebook) -> Encoding:
    """x float32 [b, features], y int64 [b]; `sizes` are `features` and `classes`."""
    tables = {name: table.numpy() for name, table in codebook.tables.items()}
    mean, scale, marked = (tables[name] for name in ("mean", "scale", "missing"))
    places = [tables[f"place_{n}"] for n in range(sum("place_" in t for t in tables))]
    widths = [int(place.max(initial=-1)) + 1 for place in places]
    first = np.cumsum([len(mean) + int(marked.sum()), *widths])
    features = int(first[-1])

    def inputs(columns: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
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
        return torch.from_numpy(x)

    sizes = {"features": features, "classes": int(tables["classes"])}
    return Encoding(labelled(inputs), sizes)


def _moments(counted: Summary, numbers: list[str]) -> dict[str, Tensor]:
    """Mean, deviation (1 of a constant) and whether any is missing, of each number."""
    rows = counted["records"]["all"]
    present, total, squares = (counted[k] for k in ("present", "sum", "squares"))
    found = [exact.moments(total[n], squares[n], present[n]) for n in numbers]
    return {
        "mean": torch.tensor([mean for mean, _ in found], dtype=torch.float64),
        "scale": torch.tensor(
            [math.sqrt(variance) or 1 for _, variance in found], dtype=torch.float64
        ),
        "missing": torch.tensor([present[n] < rows for n in numbers], dtype=torch.bool),
    }
