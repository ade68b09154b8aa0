"""Columns of a raw table as pandas has them: categories and numbers."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedmeta.data.errors import DataError
from fedmeta.data.names import whole_numbers
from fedmeta.data.tables import (
    DELIMITERS,
    MAX_VALUES,
    RawTable,
    is_text,
)
from fedmeta.late import pd

_NUMERIC = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_null,
)

NUMBERS = 0.9  # a column with more numbers than this share of its values is of numbers
EXACT = 2**53  # whole numbers beyond this may not be their own as float64
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_BREAK = re.compile("[\r\n\0]")


def identifiers(raw: RawTable, name: str) -> pd.Categorical:
    """Users or services; null and the empty text are missing.

    Where all are written like 7.0, as pandas does beside a missing value, they are
    whole numbers: 7 in another file is the same.

    Raises:
        DataError: for a column that is neither text nor whole numbers.
    """
    kind = _value_type(raw, name)
    column = raw.table[name]
    if pa.types.is_floating(kind):
        column = _whole(column)
    elif not (is_text(kind) or pa.types.is_integer(kind)):
        column = None
    if column is None:
        raise DataError(
            f"{raw.path}: column {name!r} is of type {kind}; expected users and "
            "services as texts or whole numbers: write it as one of these"
        )
    values = _categories(raw, name, column)
    texts = values.categories
    return values.rename_categories(whole_numbers(list(texts)))


def circumstances(
    raw: RawTable, name: str
) -> tuple[pd.Categorical | np.ndarray, list[str]]:
    """A context or event column.

    Returns:
        Categories of texts, else float32, NaN if missing. Where a file has no types,
        texts of which more than `NUMBERS` are numbers are numbers, the others missing.
        A note that counts those and names the first, if there are any.

    Raises:
        DataError: for another type, or texts that are no categories.
    """
    kind = _value_type(raw, name)
    if is_text(kind) or pa.types.is_boolean(kind):
        values = _categories(raw, name, raw.table[name])
        numbers = _numbers(values)
        there = values.codes >= 0
        odd = np.flatnonzero(np.isnan(numbers) & there)
        if raw.path.suffix in DELIMITERS and len(odd) < (1 - NUMBERS) * there.sum():
            return numbers, [
                f"values of {name!r} that are no numbers count as missing: {len(odd):,}"
                f" of {there.sum():,}, the first, {values[first]!r}, in"
                f" {raw.place(first)}"
                for first in odd[:1].tolist()
            ]
        if len(values.categories) > MAX_VALUES:
            raise DataError(
                f"{raw.path}: column {name!r} has {len(values.categories):,} different "
                f"texts; expected a category of at most {MAX_VALUES:,}: leave it out"
            )
        return values, []
    if not any(is_kind(kind) for is_kind in _NUMERIC):
        raise DataError(
            f"{raw.path}: column {name!r} is of type {kind}; expected numbers or "
            "texts: write it as one of these, or leave it out"
        )
    found = pc.cast(raw.table[name], pa.float64(), safe=False)  # rounded beyond 2^53
    values = found.to_numpy().astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values, []


def categorical(codes: np.ndarray, texts: list[str]) -> pd.Categorical:
    """Categories by their number, -1 for none; there may be none at all."""
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype="str"))


def _value_type(raw: RawTable, name: str) -> pa.DataType:
    kind = raw.table[name].type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Floats as whole numbers, None where they are not, or not for sure."""
    values = column.drop_null().to_numpy()
    if not (np.isfinite(values) & (values == np.round(values))).all():
        return None
    return None if (np.abs(values) > EXACT).any() else pc.cast(column, pa.int64())


def _numbers(values: pd.Categorical) -> np.ndarray:
    """float32 [n]: texts as numbers, NaN where they are none or missing."""
    known = [
        float(text) if _NUMBER.fullmatch(text) else np.nan for text in values.categories
    ]
    return np.array([*known, np.nan], dtype=np.float32)[values.codes]


def _categories(raw: RawTable, name: str, column: pa.ChunkedArray) -> pd.Categorical:
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(pc.cast(column, pa.string()))
    column = column.unify_dictionaries().combine_chunks()
    codes = pc.fill_null(pc.cast(column.indices, pa.int32()), -1).to_numpy()
    texts = pc.cast(column.dictionary, pa.string()).to_pylist()
    broken = next((text for text in texts if text and _BREAK.search(text)), None)
    if broken is not None:
        raise DataError(
            f"{raw.path}: column {name!r} has a text with a line break, "
            f"{broken[:40]!r}; is a quote left open there? Mend it"
        )
    present = np.array([bool(text) for text in texts], dtype=bool)
    number = np.full(len(texts) + 1, -1, np.int32)  # the last is that of code -1
    number[:-1][present] = np.arange(present.sum())
    return categorical(number[codes], [text for text in texts if text])
