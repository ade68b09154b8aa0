"""Minibatches of many users, drawn for each and laid out side by side.

A user's batches are cut, one after another, from shuffled passes over the records, so
that a batch may end one pass and begin the next. After the first `DIFFERENT` batches
the same ones come round again: what makes a step fast is laid out once for each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

DIFFERENT = 100


class Rows(NamedTuple):
    """A sparse matrix by rows; that of row i is in ``starts[i]:starts[i + 1]``."""

    columns: Tensor  # [z] int32
    values: Tensor | None  # [z]; None: all are 1
    starts: Tensor  # [rows + 1] int32

    def __matmul__(self, dense: Tensor) -> Tensor:
        """[rows, m], the product with [columns, m]; a third of torch.sparse's time."""
        return torch.embedding_bag(
            dense,
            self.columns,
            self.starts,
            mode=0,  # sum
            per_sample_weights=self.values,
            include_last_offset=True,
        )[0]


class PaddedBatch(NamedTuple):
    """A batch of each user, all padded with empty rows to the size of the largest."""

    x: Rows  # [users * rows, users * inputs], a block for each user
    x_transposed: Rows
    y: Tensor  # [users, rows] classes


def draw(records: int, size: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """[steps, size] records of each batch; of more steps than differ, the first."""
    steps = min(steps, DIFFERENT)
    if not size:
        return np.empty((steps, 0), dtype=np.int64)
    passes = steps * size // records + 1
    shuffled = [rng.permutation(records) for _ in range(passes)]
    return np.concatenate(shuffled)[: steps * size].reshape(steps, size)


def side_by_side(
    x: Sequence[np.ndarray], y: Sequence[np.ndarray], drawn: Sequence[np.ndarray]
) -> list[PaddedBatch]:
    """The batches of some users, step by step.

    Args:
        x: records [n, inputs] of each user.
        y: their classes [n].
        drawn: which records are in each batch, from `draw`.
    """
    steps, largest = len(drawn[0]), max(batches.shape[1] for batches in drawn)
    # Each user's records end with an empty row, which is what pads the batches.
    blocks = [sparse.csr_array(np.pad(table, ((0, 1), (0, 0)))) for table in x]
    records = sparse.block_diag(blocks, format="csr")
    first = np.cumsum([0] + [block.shape[0] for block in blocks])
    shape = (steps, len(x), largest)
    rows, classes = np.empty(shape, np.int64), np.zeros(shape, np.int64)
    for user, batches in enumerate(drawn):
        size = batches.shape[1]
        rows[:, user, :size] = first[user] + batches
        rows[:, user, size:] = first[user + 1] - 1
        classes[:, user, :size] = y[user][batches]
    return [
        PaddedBatch(
            _rows(matrix := records[numbers.ravel()]),
            _rows(matrix.tocsc()),
            torch.from_numpy(labels),
        )
        for numbers, labels in zip(rows, classes, strict=True)
    ]


def _rows(matrix: sparse.csr_array | sparse.csc_array) -> Rows:
    """A matrix, or the transpose of one that is stored by columns."""
    return Rows(
        torch.from_numpy(matrix.indices.astype(np.int32)),
        None if (matrix.data == 1).all() else torch.from_numpy(matrix.data),
        torch.from_numpy(matrix.indptr.astype(np.int32)),
    )
