"""Columns of a CSV, TSV or Parquet file, by their names."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import parquet

from fedmeta.data.errors import DataError
from fedmeta.data.names import listed

SYNTHETIC_KEY = b"fedmeta.synthetic"  # in the metadata of a generated file's schema
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*DELIMITERS, ".parquet")
MAX_VALUES = 50_000  # different texts of a category; more are names or free text
BLOCK = 16 << 20  # bytes parsed at a time
_COMPACT = pa.dictionary(pa.int32(), pa.string())


class RawTable(NamedTuple):
    """Some columns of one file."""

    path: Path
    table: pa.Table
    synthetic: bool  # whether the file's schema says so
    place: Callable[[int], str]  # row -> where that is, for messages


def read_table(
    path: Path, time: str, ids: Sequence[str], others: Sequence[str] = ()
) -> RawTable:
    """Read some columns.

    Args:
        path: what it is, its suffix says.
        time: a column that CSV has as text, however it looks.
        ids: columns that CSV has as texts, each value stored once.
        others: columns that have the type of their values, in CSV as well.

    Raises:
        DataError: for an unknown suffix, a file of another form or a missing column.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(
            f"{path}: {path.suffix or 'no suffix'}; expected one of "
            f"{', '.join(SUFFIXES)}: rename the file or write it as one of these"
        )
    with unreadable_told(path):
        if path.suffix == ".parquet":
            return _read_parquet(path, [time, *ids, *others])
        kinds = {time: pa.string()} | dict.fromkeys(ids, _COMPACT)
        return _read_csv(path, [time, *ids, *others], kinds)


@contextmanager
def unreadable_told(path: Path) -> Iterator[None]:
    """Raise what Arrow says of a file that it cannot read as a DataError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        problem = str(error).splitlines()[0]
        raise DataError(
            f"{path}: cannot be read as {path.suffix[1:]} ({problem}); mend it there, "
            "or write or fetch the file again"
        ) from error


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of texts, however long."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _read_csv(path: Path, names: list[str], kinds: dict[str, pa.DataType]) -> RawTable:
    delimiter = DELIMITERS[path.suffix]
    check_names(path, names, header(path, delimiter))
    table = arrow_csv.read_csv(
        path,
        # in one thread: only then do errors have a row number
        arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK),
        arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            include_columns=names,
            column_types=kinds,
            auto_dict_encode=True,
            auto_dict_max_cardinality=MAX_VALUES,
        ),
    )
    return RawTable(
        path, table, False, lambda row: f"{path}: line {_line(path, delimiter, row)}"
    )


def header(path: Path, delimiter: str) -> list[str]:
    """Names of the columns of a text file.

    Raises:
        DataError: for an empty file, another encoding or another delimiter.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            names = next((row for row in rows if row), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: is no text in UTF-8 ({error}); convert the file, such as with "
            "iconv -t UTF-8"
        ) from None
    if not names:
        raise DataError(
            f"{path}: the file is empty; expected a line of column names and records"
        )
    for other in ",;\t|":
        if len(names) == 1 and other != delimiter and other in names[0]:
            raise DataError(
                f"{path}: columns are separated by {other!r}; expected {delimiter!r} "
                f"in *{path.suffix}: write the file again, or rename it if it is one "
                f"of {', '.join(SUFFIXES)}"
            )
    return names


def _line(path: Path, delimiter: str, row: int) -> int:
    """The line that a row begins on; texts may hold line breaks."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        begin, number = 1, -2  # the header is row -1
        for fields in rows:
            number += bool(fields)  # empty lines are no rows
            if number == row:
                break
            begin = rows.line_num + 1
    return begin


def _read_parquet(path: Path, names: list[str]) -> RawTable:
    schema = parquet.read_schema(path)
    check_names(path, names, schema.names)
    texts = [name for name in names[1:] if is_text(schema.field(name).type)]
    file = parquet.ParquetFile(path, memory_map=True, read_dictionary=texts)
    synthetic = (schema.metadata or {}).get(SYNTHETIC_KEY) == b"true"
    table = file.read(columns=names)
    table.validate(full=True)  # texts are UTF-8, which nobody checked
    return RawTable(path, table, synthetic, lambda row: f"{path}: row {row + 1}")


def check_names(path: Path, names: Sequence[str], present: Sequence[str]) -> None:
    """Refuse a file that lacks a column, or has it twice."""
    for name in names:
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1, cutoff=0.5)
            guess = f" (is it {near[0]!r}?)" if near else ""
            raise DataError(
                f"{path}: no column {name!r}{guess}; there are {listed(present)}: "
                "rename it there, or name the file's own in the block raw"
            )
        if list(present).count(name) > 1:
            raise DataError(
                f"{path}: column {name!r} is there twice; rename one of them"
            )
