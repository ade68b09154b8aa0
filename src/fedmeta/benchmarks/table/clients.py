"""Rows that come in any order, as clients: sorted through files on the disk.

A client's rows may be scattered over all files. One pass turns rows into numbers and
spreads them over temporary files by client; each of these, some 64 MB, is then sorted
in memory. Memory so holds no more than a few of these, the largest client and the names
of all clients; the disk holds the numbers once more (where `TMPDIR` says).
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedmeta.benchmarks.table.parts import (
    NUMBERS,
    TEXTS,
    TIMES,
    Columns,
    Table,
    batches,
)
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.data.names import alike, whole_numbers
from fedmeta.data.tables import MAX_VALUES, is_text
from fedmeta.data.vocabularies import in_order, places

log = logging.getLogger(__name__)

BUCKET = 64 << 20  # bytes sorted at a time
MAX_BUCKETS = 400  # files that are open at once
MAX_CLASSES = 1_000
_DECIMAL, _NUMBER = re.compile(r"-?\d*\.\d+"), re.compile(r"-?\d*\.?\d+")
_DATE = re.compile(
    r"(\d{4}-\d\d?-\d\d?|\d\d?([./-])\d\d?\2\d{2,4})([T ].*)?", re.DOTALL
)


class Codes:
    """Numbers for texts, in the order in which these first come."""

    def __init__(self, most: int | None = None) -> None:
        self.numbers: dict[str, int] = {}
        self.most = most

    def __call__(self, column: pa.Array) -> np.ndarray:
        """int32 [n], -1 for what is missing: null, not a number, the empty text.

        Raises:
            OverflowError: for more different ones than there may be.
        """
        encoded = _texts(column).dictionary_encode()
        own = [
            self.numbers.setdefault(text, len(self.numbers)) if text else -1
            for text in encoded.dictionary.to_pylist()
        ]
        if self.most is not None and len(self.numbers) > self.most:
            raise OverflowError
        places = pc.fill_null(encoded.indices, len(own)).to_numpy(zero_copy_only=False)
        return np.array([*own, -1], np.int32)[places]

    def ranked(self) -> tuple[list[str], np.ndarray]:
        """The texts in order, numbers by size; int32, the place of each number's."""
        texts = whole_numbers(list(self.numbers))
        ordered = in_order(texts)
        return ordered, places(texts, ordered)


def read_clients(
    table: Table, columns: Columns
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """The clients of a table, each with its rows by time, else as they come.

    Returns:
        clients: `label` int32 [n], and where there are such columns `numbers` float32
            [n, p], NaN if missing, and `categories` int32 [n, q], -1 if missing.
        metadata: JSON of `classes`, `numbers` (names) and `categories` (name ->
            values), and `ordered`.

    Raises:
        DataError: for a row without client, label or time, too many
            classes or categories, or no rows.
    """
    names = [n for n in table.kinds if n not in columns.roles]
    numbers = [n for n in names if table.kinds[n] == NUMBERS]
    categories = {n: Codes(MAX_VALUES) for n in names if table.kinds[n] == TEXTS}
    clients, classes = Codes(), Codes(MAX_CLASSES)
    kind = np.dtype(
        [
            ("client", np.int32),
            ("label", np.int32),
            *([("time", np.float64)] if columns.time else []),
            ("numbers", np.float32, (len(numbers),)),
            ("categories", np.int32, (len(categories),)),
        ]
    )
    count = min(MAX_BUCKETS, 1 + table.rows * kind.itemsize // BUCKET)
    clock = _Clock()
    total = 0
    with ExitStack() as stack:
        files: list[IO[bytes]] = [
            stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)
        ]
        for path in table.paths:
            first = 0
            for batch in batches(path, table.kinds):
                rows = np.empty(len(batch), kind)
                for role, codes in (("client", clients), ("label", classes)):
                    name = getattr(columns, role)
                    rows[role] = coded(codes, batch, name, path)
                    refuse_missing(rows[role] < 0, path, name, role, first)
                if columns.time:
                    rows["time"] = clock.read(batch.column(columns.time), path, columns)
                    missing = np.isnan(rows["time"])
                    refuse_missing(missing, path, columns.time, "time", first)
                for place, name in enumerate(numbers):
                    rows["numbers"][:, place] = _numbers(batch.column(name))
                for place, (name, codes) in enumerate(categories.items()):
                    rows["categories"][:, place] = coded(codes, batch, name, path)
                _spread(rows, files)
                first += len(batch)
            log.info("%s: %d records", path, first)
            total += first
        _refuse_empty(table, total)
        ids = whole_numbers(list(clients.numbers))
        _refuse_fractions(table, columns, ids)
        _refuse_dates(table, columns, categories)
        for what, found in {
            "clients": clients,
            "classes": classes,
            **{f"values of {name!r}": codes for name, codes in categories.items()},
        }.items():
            for note in alike(found.numbers, what):
                log.warning("%s", note)
        labels, place_of_label = classes.ranked()
        ranked = {name: codes.ranked() for name, codes in categories.items()}
        kept = stack.pop_all()
    metadata = {
        "classes": json.dumps(labels),
        "numbers": json.dumps(numbers),
        "categories": json.dumps({name: texts for name, (texts, _) in ranked.items()}),
        "ordered": "true" if columns.time else "false",
    }
    places = [place for _, place in ranked.values()]

    def sorted_clients() -> Iterator[ClientRecords]:
        with kept:
            for file in files:
                file.seek(0)
                rows = np.fromfile(file, kind)
                keys = (rows["time"],) if columns.time else ()
                rows = rows[np.lexsort((*keys, rows["client"]))]
                owners, starts = np.unique(rows["client"], return_index=True)
                for owner, own in zip(owners, np.split(rows, starts[1:]), strict=False):
                    found = {"label": place_of_label[own["label"]]}
                    if numbers:
                        found["numbers"] = np.ascontiguousarray(own["numbers"])
                    if places:
                        coded = own["categories"]
                        found["categories"] = np.stack(
                            [place[coded[:, q]] for q, place in enumerate(places)], 1
                        )
                    yield ClientRecords(ids[owner], found)

    return sorted_clients(), metadata


class _Clock:
    """Times as numbers, all of them with a zone or all without."""

    def __init__(self) -> None:
        self.form: tuple[str, Path] | None = None

    def read(self, column: pa.Array, path: Path, columns: Columns) -> np.ndarray:
        """float64 [n] microseconds since 1970, or the numbers as they are."""
        form, values = _instants(_plain(column))
        if form is None:
            text = next(t for t in _texts(column).to_pylist() if t)
            raise DataError(
                f"{path}: column {columns.time!r} has times that cannot be read, such "
                f"as {text!r}, or with and without a zone together; expected numbers, "
                "or ISO 8601 such as 2024-05-31T18:05:00 throughout: write them so"
            )
        if self.form is not None and self.form[0] != form:
            raise DataError(
                f"{path}: column {columns.time!r} has {form}, but {self.form[0]} in "
                f"{self.form[1].name}; write them in one way"
            )
        if values.null_count < len(values):
            self.form = self.form or (form, path)
        found = pc.cast(values, pa.float64(), safe=False)  # rounded beyond 2^53
        return np.asarray(found.to_numpy(zero_copy_only=False))


def _instants(column: pa.Array) -> tuple[str | None, pa.Array]:
    """How times are written, None where they cannot be read, and their numbers."""
    if not (is_text(column.type) or pa.types.is_temporal(column.type)):
        return NUMBERS, column
    zoned = getattr(column.type, "tz", None) is not None
    for form, zone in (("without a zone", None), ("with a zone", "UTC")):
        if is_text(column.type) or zoned == (zone is not None):
            try:
                exact = pc.cast(
                    column, pa.timestamp("us", zone), safe=is_text(column.type)
                )
            except pa.ArrowInvalid:
                continue
            return f"{TIMES} {form}", pc.cast(exact, pa.int64())
    return None, column


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _texts(column: pa.Array) -> pa.Array:
    column = _plain(column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return column if is_text(column.type) else pc.cast(column, pa.string())


def _numbers(column: pa.Array) -> np.ndarray:
    """float32 [n], NaN where there is none, or none that is finite."""
    exact = pc.cast(_plain(column), pa.float64(), safe=False)
    with np.errstate(over="ignore"):
        values = exact.to_numpy(zero_copy_only=False).astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values


def coded(codes: Codes, batch: pa.RecordBatch, name: str, path: Path) -> np.ndarray:
    """int32 [n] numbers of a column's values, -1 for what is missing.

    Raises:
        DataError: for more different values than there may be.
    """
    try:
        return codes(batch.column(name))
    except OverflowError:
        raise DataError(
            f"{path}: column {name!r} has more than {codes.most:,} different values; "
            "expected classes or categories: name another column as label, or this one "
            "in raw.leave_out"
        ) from None


def refuse_missing(
    missing: np.ndarray, path: Path, name: str, role: str, first: int
) -> None:
    """Raise a DataError for the first row that lacks its client, label or the like."""
    if missing.any():
        raise DataError(
            f"{path}: row {first + 1 + int(missing.argmax()):,} has no {role} in "
            f"column {name!r}; expected one in every row: fill it in or remove the row"
        )


def _refuse_empty(table: Table, total: int) -> None:
    if not total:
        raise DataError(f"{table.paths[0]}: no rows; expected a row a record: check it")


def _refuse_fractions(table: Table, columns: Columns, ids: list[str]) -> None:
    """Numbers with decimals measure something: they say not whose a record is."""
    odd = next((name for name in ids if _DECIMAL.fullmatch(name)), None)
    if odd is not None and all(map(_NUMBER.fullmatch, ids)):
        raise DataError(
            f"{table.paths[0]}: column {columns.client!r} has the client {odd!r};"
            " expected names or whole numbers: name the column that says whose a record"
            " is as raw.client, or write these numbers as texts"
        )


def _refuse_dates(table: Table, columns: Columns, categories: dict[str, Codes]) -> None:
    for name, codes in categories.items():
        texts = list(codes.numbers)
        if (
            texts
            and name not in columns.categorical
            and all(map(_DATE.fullmatch, texts))
        ):
            raise DataError(
                f"{table.paths[0]}: column {name!r} has dates such as {texts[0]!r};"
                " expected numbers or categories: name it as raw.time or in"
                " raw.leave_out, or in raw.categorical if each is a value of its own"
            )


def _spread(rows: np.ndarray, files: list[Any]) -> None:
    """Append rows to the files of their clients."""
    bucket = rows["client"] % len(files)
    order = np.argsort(bucket, kind="stable")
    wanted, starts = np.unique(bucket[order], return_index=True)
    for number, part in zip(wanted, np.split(rows[order], starts[1:]), strict=False):
        files[number].write(part.tobytes())
