"""A table of images: paths, or bytes as Hugging Face's datasets have them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedmeta.benchmarks.table.clients import (
    MAX_CLASSES,
    Codes,
    coded,
    refuse_missing,
)
from fedmeta.benchmarks.table.parts import TEXTS, batches, column_names
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.data.names import whole_numbers
from fedmeta.data.tables import check_names

# (path or bytes of an image, how messages name it) -> uint8 [pixels]
ReadImage = Callable[[Path | io.BytesIO, str], np.ndarray]


def read_listed(
    tables: Sequence[Path], client: str, label: str, image: str, read: ReadImage
) -> tuple[Iterator[ClientRecords], list[str], int]:
    """Images by client, whose rows may be scattered over all files.

    Pixels go through a temporary file, so that memory holds one client's.

    Args:
        tables: of the same columns.
        client: column of the client's name,
        label: of the class, of any type,
        image: of paths, from the table's folder, or of bytes.
        read: of one image.

    Returns:
        The clients as of `parse`, the classes, and how many clients there are.

    Raises:
        DataError: for a missing column or value, or an image that cannot be read.
    """
    names = dict.fromkeys((client, label, image), TEXTS)
    owners, classes = Codes(), Codes(MAX_CLASSES)
    found: dict[str, list[np.ndarray]] = {"client": [], "label": []}
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed when nobody reads it
    for path in tables:
        check_names(path, list(names), column_names(path))
        row = 0
        for batch in batches(path, names):
            for role, codes, name in (
                ("client", owners, client),
                ("label", classes, label),
            ):
                numbers = coded(codes, batch, name, path)
                refuse_missing(numbers < 0, path, name, role, row)
                found[role].append(numbers)
            for cell in batch.column(image).to_pylist():
                row += 1
                place = f"{path}: row {row:,}"
                file.write(read(*_source(cell, path, place)).tobytes())
    if not found["client"]:
        raise DataError(f"{tables[0]}: no rows; expected a row an image: check it")
    owner = np.concatenate(found["client"])
    labels, ranks = classes.ranked()
    label_of = ranks[np.concatenate(found["label"])]
    ids = whole_numbers(list(owners.numbers))

    def clients() -> Iterator[ClientRecords]:
        with file:
            file.flush()
            pixels = np.memmap(file, np.uint8, "r").reshape(len(owner), -1)
            order = np.argsort(owner, kind="stable")
            starts = np.searchsorted(owner[order], np.arange(1, len(ids)))
            for name, rows in zip(ids, np.split(order, starts), strict=True):
                columns = {"pixels": pixels[rows], "label": label_of[rows]}
                yield ClientRecords(name, columns)

    return clients(), labels, len(ids)


def _source(cell: Any, table: Path, place: str) -> tuple[Path | io.BytesIO, str]:
    """An image's path or bytes: as they are, or in what `datasets.Image` stores."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return io.BytesIO(cell), place
    if not isinstance(cell, str):
        raise DataError(f"{place}: no image; expected a path or bytes: remove the row")
    return table.parent / cell, f"{place}: {table.parent / cell}"
