"""Columns of a raw table as pandas has them: categories and numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fedmeta.benchmarks.recommendation.tables import MAX_VALUES, RawTable, is_text
from fedmeta.data.errors import DataError

_NUMERIC = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_null,
)


def identifiers(raw: RawTable, name: str) -> pd.Categorical:
    """Users or services; null and the empty text are missing.

    Raises:
        DataError: for a column that is neither text nor whole numbers.
    """
    kind = _value_type(raw, name)
    if not (is_text(kind) or pa.types.is_integer(kind)):
        raise DataError(
            f"{raw.path}: column {name!r} is of type {kind}; expected users and "
            "services as texts or whole numbers: write it as one of these"
        )
    return _categories(raw, name)


def circumstances(raw: RawTable, name: str) -> pd.Categorical | np.ndarray:
    """A context or event column: categories of texts, else float32, NaN if missing.

    Raises:
        DataError: for another type, or texts that are no categories.
    """
    kind = _value_type(raw, name)
    if is_text(kind) or pa.types.is_boolean(kind):
        values = _categories(raw, name)
        if len(values.categories) > MAX_VALUES:
            raise DataError(
                f"{raw.path}: column {name!r} has {len(values.categories):,} different "
                f"texts; expected a category of at most {MAX_VALUES:,}: leave it out"
            )
        return values
    if not any(is_kind(kind) for is_kind in _NUMERIC):
        raise DataError(
            f"{raw.path}: column {name!r} is of type {kind}; expected numbers or "
            "texts: write it as one of these, or leave it out"
        )
    values = pc.cast(raw.table[name], pa.float64()).to_numpy().astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values


def categorical(codes: np.ndarray, texts: list[str]) -> pd.Categorical:
    """Categories by their number, -1 for none; there may be none at all."""
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype="str"))


def _value_type(raw: RawTable, name: str) -> pa.DataType:
    kind = raw.table[name].type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _categories(raw: RawTable, name: str) -> pd.Categorical:
    column = raw.table[name]
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(pc.cast(column, pa.string()))
    column = column.unify_dictionaries().combine_chunks()
    codes = pc.fill_null(pc.cast(column.indices, pa.int32()), -1).to_numpy()
    texts = pc.cast(column.dictionary, pa.string()).to_pylist()
    broken = next((text for text in texts if text and "\n" in text), None)
    if broken is not None:
        raise DataError(
            f"{raw.path}: column {name!r} has a text with a line break, "
            f"{broken[:40]!r}; is a quote left open there? Mend it"
        )
    present = np.array([bool(text) for text in texts], dtype=bool)
    number = np.full(len(texts) + 1, -1, np.int32)  # the last is that of code -1
    number[:-1][present] = np.arange(present.sum())
    return categorical(number[codes], [text for text in texts if text])
