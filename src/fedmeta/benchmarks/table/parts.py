"""The files of a table: which columns they have, of which kind, and batches of rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from pyarrow import parquet

from fedmeta.data.errors import DataError
from fedmeta.data.names import listed
from fedmeta.data.tables import (
    BLOCK,
    DELIMITERS,
    SYNTHETIC_KEY,
    check_names,
    header,
    is_text,
    unreadable_told,
)

log = logging.getLogger(__name__)

BATCH = 1 << 14  # rows of Parquet at a time
ARROW = ".arrow"  # of Hugging Face's `Dataset.save_to_disk`
SUFFIXES = (*DELIMITERS, ".parquet", ARROW)
NUMBERS, TEXTS, TIMES, NOTHING = "numbers", "texts", "times", "no values"
# Columns without a name of their own, as pandas writes its index.
_INDEX = re.compile(r"\s*|Unnamed: \d+|__index_level_\d+__")
_NUMBER = r"^\s*-?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf)\s*$"  # as Arrow reads them


class Columns(NamedTuple):
    """Names of columns; features None: all others but those to leave out."""

    client: str
    label: str
    time: str | None = None
    features: Sequence[str] | None = None
    leave_out: Sequence[str] = ()
    categorical: Sequence[str] = ()

    @property
    def roles(self) -> list[str]:
        """Those that are no features."""
        return [name for name in (self.client, self.label, self.time) if name]


class Table(NamedTuple):
    """Files of the same columns."""

    paths: list[Path]
    kinds: dict[str, str]  # of all columns that are used: one of those above
    rows: int  # at most
    synthetic: bool


def open_table(paths: Sequence[Path], columns: Columns) -> Table:
    """Find out what the columns of some files are.

    CSV and TSV have no types and are read once for that: a column is of numbers where
    all of its values are.

    Raises:
        DataError: for a missing column, one of mixed or other values, or files that
            differ in kinds.
    """
    present = {path: column_names(path) for path in paths}
    features = columns.features
    if features is None:
        known = {*columns.roles, *columns.leave_out}
        every = dict.fromkeys(name for names in present.values() for name in names)
        features = [n for n in every if n not in known and not _INDEX.fullmatch(n)]
        if nameless := [n for n in every if n not in features and n not in known]:
            log.warning(
                "%s: %s is left out: what has no name is an index, not a feature;"
                " where it is one, give it a name",
                paths[0],
                listed(nameless),
            )
    wanted = [*columns.roles, *features]
    for path in paths:
        named = [*wanted, *columns.leave_out, *columns.categorical]
        check_names(path, named, present[path])
    twice = next((name for name in wanted if wanted.count(name) > 1), None)
    if twice or not features:
        said = f"column {twice!r} is asked for twice" if twice else "no feature is left"
        raise DataError(
            f"{paths[0]}: {said}; expected a client, a label, perhaps a time, and one "
            "or more features, each another column: name them in the block raw"
        )
    kinds = dict.fromkeys(wanted, NOTHING)
    first: dict[str, Path] = {}
    for path in paths:
        for name, kind in _kinds(path, wanted, columns).items():
            allowed = [NUMBERS, TEXTS, *([TIMES] * (name == columns.time)), NOTHING]
            if kind not in allowed:
                raise DataError(
                    f"{path}: column {name!r} has {kind}; expected numbers or texts: "
                    "write it as one of these, or name a feature in raw.leave_out"
                )
            if kind == NOTHING or name in columns.categorical:
                continue
            if kinds[name] not in (NOTHING, kind):
                raise DataError(
                    f"{path}: column {name!r} has {kind}, but in {first[name].name} "
                    f"{kinds[name]}; write it in one way in all files"
                )
            kinds[name] = kind
            first.setdefault(name, path)
    kinds = {name: NUMBERS if k == NOTHING else k for name, k in kinds.items()}
    kinds |= dict.fromkeys([columns.client, columns.label, *columns.categorical], TEXTS)
    sizes = [_size(path, len(names)) for path, names in present.items()]
    rows, marks = zip(*sizes, strict=True)
    if any(marks) and not all(marks):
        raise DataError(
            f"{paths[marks.index(True)]}: synthetic and real records together; keep "
            "them in different folders"
        )
    return Table(list(paths), kinds, sum(rows), any(marks))


def title(paths: Sequence[Path]) -> str:
    """What a table is called: by its file, or by the folder of parts."""
    first = Path(paths[0]).absolute()
    # Hugging Face's parts are all called data-00000-of-00001.arrow or the like.
    alone = len(paths) == 1 and first.suffix != ARROW
    return first.name if alone else first.parent.name


def column_names(path: Path) -> list[str]:
    """Names of the columns of a file, as they stand there.

    Raises:
        DataError: where it cannot be read.
    """
    with unreadable_told(path):
        if path.suffix in DELIMITERS:
            return header(path, DELIMITERS[path.suffix])
        return _schema(path).names


def _schema(path: Path) -> pa.Schema:
    if path.suffix == ARROW:
        return _stream(path).schema
    return parquet.read_schema(path)


def _stream(path: Path) -> pa.RecordBatchStreamReader:
    return pa.ipc.open_stream(pa.memory_map(str(path)))


def _kinds(path: Path, wanted: Sequence[str], columns: Columns) -> dict[str, str]:
    if path.suffix in DELIMITERS:
        return _text_kinds(path, wanted, columns)
    schema = _schema(path)
    return {name: _kind(schema.field(name).type) for name in wanted}


def _kind(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return NUMBERS
    if is_text(kind) or types.is_boolean(kind):
        return TEXTS
    if types.is_timestamp(kind) or types.is_date(kind):
        return TIMES
    return NOTHING if types.is_null(kind) else f"values of type {kind}"


def _text_kinds(path: Path, wanted: Sequence[str], columns: Columns) -> dict[str, str]:
    """Kinds of the columns of a CSV, by all of its values."""
    kinds = dict.fromkeys(wanted, TEXTS)
    told = {columns.client, columns.label, *columns.categorical}
    asked = [name for name in wanted if name not in told]
    there, numbers = dict.fromkeys(asked, 0), dict.fromkeys(asked, 0)
    odd: dict[str, str] = {}
    for batch in batches(path, dict.fromkeys(asked, TEXTS)):
        for name in asked:
            values = batch.column(name).drop_null()
            fits = pc.match_substring_regex(values, _NUMBER)
            there[name] += len(values)
            numbers[name] += fits.true_count
            if fits.false_count and name not in odd:
                odd[name] = values[pc.index(fits, False).as_py()].as_py()
    for name in asked:
        if numbers[name] == there[name]:
            kinds[name] = NUMBERS if there[name] else NOTHING
        elif numbers[name] > there[name] / 2:
            raise DataError(
                f"{path}: column {name!r} has {odd[name]!r} among numbers "
                f"({there[name] - numbers[name]:,} of {there[name]:,} are none); "
                "expected numbers or texts: mend these, leave them empty, or name the "
                "column in raw.categorical or raw.leave_out"
            )
    return kinds


def batches(path: Path, kinds: dict[str, str]) -> Iterator[pa.RecordBatch]:
    """The rows of a file in its order; of a CSV as float64 or text, by their kind.

    Raises:
        DataError: where the file cannot be read to its end.
    """
    with unreadable_told(path):
        if path.suffix == ".parquet":
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(BATCH, columns=list(kinds)):
                    batch.validate(full=True)  # texts are UTF-8, which nobody checked
                    yield batch
        elif path.suffix == ARROW:
            for batch in _stream(path):
                found = batch.select(list(kinds))
                found.validate(full=True)
                yield found
        elif kinds:
            text, number = pa.string(), pa.float64()
            types = {n: number if k == NUMBERS else text for n, k in kinds.items()}
            yield from arrow_csv.open_csv(
                path,
                arrow_csv.ReadOptions(block_size=BLOCK),
                arrow_csv.ParseOptions(
                    delimiter=DELIMITERS[path.suffix], newlines_in_values=True
                ),
                arrow_csv.ConvertOptions(
                    include_columns=list(types),
                    column_types=types,
                    strings_can_be_null=True,
                ),
            )


def _size(path: Path, columns: int) -> tuple[int, bool]:
    """How many rows a file has at most, and whether it says that it is generated."""
    if path.suffix != ".parquet":
        return path.stat().st_size // columns, False  # a byte a value at least
    found = parquet.read_metadata(path)
    return found.num_rows, (found.metadata or {}).get(SYNTHETIC_KEY) == b"true"
