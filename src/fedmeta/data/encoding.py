"""From stored records to the input of a model.

What has to be learnt or looked up for that, such as a vocabulary or word vectors, is
made once from the training clients and kept: the codebook.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# (columns of a client, rows wanted) -> x [b, *features], y [b]
Examples = Callable[[dict[str, np.ndarray], np.ndarray], tuple[Tensor, Tensor]]
# (columns of a client, rows wanted) -> [b] classes as they are stored
Labels = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]
# (columns of a client, its support rows) -> columns as the client's own model sees them
Personal = Callable[[dict[str, np.ndarray], np.ndarray], dict[str, np.ndarray]]


def stored_labels(columns: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """[b] classes, of records whose column `label` has them."""
    return columns["label"][rows]


def labelled(inputs: Callable[[dict[str, np.ndarray], np.ndarray], Tensor]) -> Examples:
    """Examples with inputs from a function, and y int64 from the column `label`."""

    def examples(
        columns: dict[str, np.ndarray], rows: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        y = torch.from_numpy(stored_labels(columns, rows).astype(np.int64))
        return inputs(columns, rows), y

    return examples


class Codebook(NamedTuple):
    """What turns stored records into the input of a model; never transmitted."""

    tables: dict[str, Tensor]
    note: str  # what it is, for the report
    settings: Mapping[str, Any] = {}  # that it was made with


class Encoding(NamedTuple):
    """A codebook put to use."""

    examples: Examples  # of `personal` columns
    sizes: dict[str, int]  # arguments of the model's factory that the data decide
    # What an encoding learns of a client, it learns from the support set alone.
    personal: Personal = lambda columns, support: columns


def checksum(codebook: Codebook) -> str:
    """SHA-256 of the tables: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, table in sorted(codebook.tables.items()):
        digest.update(f"|{name}|{table.dtype}|{tuple(table.shape)}|".encode())
        digest.update(table.contiguous().numpy().data)
    return digest.hexdigest()
