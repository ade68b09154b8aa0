"""Blocks of numbers as the input of a model: one-hot, side by side.

The paper's 103 features come out for a log with a numeric context column of 10 bins and
an event column of 4 categories, or with such an event column and the recency blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedmeta.benchmarks.recommendation.blocks import (
    BLOCKS,
    NOTHING,
    RECENT,
    with_slots,
)
from fedmeta.data.encoding import Codebook, Encoding, labelled
from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset
from fedmeta.late import pd

# (columns of a client, rows wanted) -> uint8 [b, blocks], NOTHING where none applies
BlockCodes = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]


def labels(columns: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """int32 [b]: services by their number in the whole log."""
    return columns["service"][rows]


def codebook(
    records: FederatedDataset,
    clients: pd.DataFrame,
    *,
    bins: int = 10,
    categories: int = 4,
    recency: bool,
) -> Codebook:
    """Which blocks there are, and what the values of context columns become.

    Args:
        records: of a usage log.
        clients: training clients, whose used records decide.
        bins: of a number, as equally filled as their values allow.
        categories: how many of a text's values, the most frequent, are told apart.
        recency: whether to add which local services 0..9 are among the last 10 records.

    Returns:
        `sizes` int64 [blocks], `slots` [] and, for the column number i of the context,
        `edges_i` float32 [bins - 1] or `values_i` int64 [categories].

    Raises:
        DataError: for a context column that is empty or constant, or limits beyond
            what is possible.
    """
    if not 2 <= bins <= NOTHING or not 1 <= categories <= NOTHING:
        raise DataError(
            f"bins {bins}, categories {categories}: expected 2 to {NOTHING} bins and 1 "
            f"to {NOTHING} categories; the defaults are 10 and 4"
        )
    described = json.loads(records.metadata["context"])
    slots = int(records.metadata["slots"])
    own = {**BLOCKS, "previous_service": slots}
    blocks = list(own.items())[: None if recency else -RECENT]  # name, size
    values_of: dict[str, int] = {}  # how many a category has
    tables: dict[str, Tensor] = {}
    for number, column in enumerate(described):
        name = column["name"]
        values = _used_values(records, clients, number, name)
        if column["kind"] == "numeric":
            shares = np.arange(1, bins) / bins
            edges = np.quantile(values, shares).astype(np.float32)
            tables[f"edges_{number}"] = torch.from_numpy(edges)
            blocks.append((name, bins))
        else:
            counts = np.bincount(values.astype(np.int64))
            # a stable order: of equally frequent values the first in the alphabet
            best = np.argsort(-counts, kind="stable")[:categories]
            best = best[counts[best] > 0]
            tables[f"values_{number}"] = torch.from_numpy(best)
            blocks.append((name, len(best)))
            values_of[name] = len(column["values"])
    tables["sizes"] = torch.tensor([size for _, size in blocks])
    tables["slots"] = torch.tensor(slots)
    return Codebook(tables, _note(blocks, values_of))


def encoding(codebook: Codebook) -> Encoding:
    """x float32 [b, features] of zeros and ones, y int64 [b] slots, -1 without one.

    Both are those of `personal` columns: slots follow from a user's support records.

    `sizes` are the number of features and, as classes, of local services.
    """
    widths = np.array(block_sizes(codebook))
    codes_of = block_codes(codebook)
    features, first = int(widths.sum()), np.cumsum(widths) - widths

    def inputs(columns: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
        codes = codes_of(columns, rows)
        x = np.zeros((len(codes), features), dtype=np.float32)
        row, block = np.nonzero(codes != NOTHING)
        x[row, first[block] + codes[row, block]] = 1
        return torch.from_numpy(x)

    classes = int(codebook.tables["slots"])
    sizes = {"features": features, "classes": classes}
    return Encoding(labelled(inputs), sizes, partial(with_slots, slots=classes))


def block_sizes(codebook: Codebook) -> list[int]:
    """How many codes each block has, in the order of features."""
    return codebook.tables["sizes"].tolist()


def block_codes(codebook: Codebook) -> BlockCodes:
    """The function that gives all blocks of some records, as numbers."""
    tables = {name: table.numpy() for name, table in codebook.tables.items()}
    context = sum(name.startswith(("edges_", "values_")) for name in tables)
    own = len(tables["sizes"]) - context

    def codes(columns: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        found = np.full((len(rows), own + context), NOTHING, dtype=np.uint8)
        found[:, :own] = columns["codes"][rows, :own]
        for number in range(context):
            values = columns["context"][rows, number]
            if f"edges_{number}" in tables:
                block = np.searchsorted(tables[f"edges_{number}"], values, "right")
                found[:, own + number] = np.where(np.isnan(values), NOTHING, block)
            else:
                for code, value in enumerate(tables[f"values_{number}"]):
                    found[values == value, own + number] = code
        return found

    return codes


def recent_services(labels: np.ndarray, k: int) -> np.ndarray:
    """The different services used last before each record, the latest first.

    Args:
        labels: int [n] local, in the order of use; -1 is passed over.
        k: how many.

    Returns:
        int [n, k], -1 where there were not so many.
    """
    present = np.arange(max(k, int(labels.max(initial=-1)) + 1))
    index = np.arange(len(labels))[:, None]
    # when each was last used: [n, services], moved down by a record
    last = np.maximum.accumulate(np.where(labels[:, None] == present, index, -1))
    last = np.concatenate([np.full((1, len(present)), -1), last])[:-1]
    order = np.argsort(-last, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(last, order, axis=1) < 0, -1, order)


def _used_values(
    records: FederatedDataset, clients: pd.DataFrame, number: int, name: str
) -> np.ndarray:
    """The values of a context column in the clients' used records, none missing."""
    spans = clients[["client_id", "start", "stop"]].itertuples(index=False)
    values = np.concatenate(
        [records.columns(c)["context"][start:stop, number] for c, start, stop in spans]
    )
    values = values[~np.isnan(values)]
    if not len(values) or values.min() == values.max():
        state = "the same everywhere" if len(values) else "empty"
        raise DataError(
            f"{records.path}: column {name!r} is {state} in the training users' "
            "records; leave it out of the block raw"
        )
    return values


def _note(blocks: list[tuple[str, int]], values_of: dict[str, int]) -> str:
    listed = [
        f"{name.replace('_', ' ')} {size}"
        + f" of {values_of.get(name, 0):,} values" * (values_of.get(name, 0) > size)
        for name, size in blocks
        if not name.startswith("recent_")
    ]
    recent = len(blocks) - len(listed)
    if recent:
        listed.append(f"which of services 0 to 9 are in the last 10 records {recent}")
    total = sum(size for _, size in blocks)
    return f"{total} features of 0 or 1: {', '.join(listed)}"
