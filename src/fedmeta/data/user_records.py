"""One user's records as rows of a table: what a trained model is personalised to.

Rows with a label are what it learns from; those without are to be predicted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.names import listed, spelling
from fedmeta.late import pd

SHOWN = 40  # characters of a value in a message
_SURROGATE = re.compile("[\ud800-\udfff]")  # halves of cut characters


class UserRecords(NamedTuple):
    """One user's records in the form that an encoding reads."""

    columns: dict[str, np.ndarray]  # name -> [n] or [n, d]: `Encoding.examples`
    support: np.ndarray  # [s] numbers of the records that have a label
    query: np.ndarray  # [q] of the others, in the order of their rows
    classes: Sequence[str]  # labels by output of the model; further outputs are unused
    notes: list[str]  # what was done to the records, in counts


class TableForm(NamedTuple):
    """How the records of a benchmark's users are written as rows of a table.

    The metadata are those of the data that a model was trained on.
    """

    # metadata -> names of the columns: user, label, then those of the record
    columns: Callable[[Mapping[str, str]], tuple[str, ...]]
    # rows of one user, codebook, metadata -> the records; DataError for what cannot be
    read: Callable[[pd.DataFrame, Codebook, Mapping[str, str]], UserRecords]
    # metadata -> a few made-up rows of one user, one of them to be predicted
    example: Callable[[Mapping[str, str]], pd.DataFrame]


def text_of(value: Any) -> str:
    """A cell as text: "" where it is missing, 7 for 7.0.

    >>> text_of(7.0), text_of(None)
    ('7', '')
    """
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return ""
        return str(int(value)) if float(value).is_integer() else str(value)
    return _SURROGATE.sub("\ufffd", str(value))


def check_columns(rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise DataError for a table without one of the columns, or with two of it."""
    missing = [name for name in columns if name not in rows]
    if missing:
        there = listed(list(rows)) if len(rows.columns) else "none"
        raise DataError(
            f"no column {listed(missing)}; the model reads {', '.join(columns)}, and"
            f" there are {there}"
        )
    for name in columns:
        if list(rows).count(name) > 1:
            raise DataError(f"column {name!r} is there twice; rename one of them")


def is_labelled(labels: pd.Series) -> np.ndarray:
    """bool [n]: whether a cell of the label's column holds anything."""
    return np.array([text_of(value) != "" for value in labels], dtype=bool)


def numbers_of(texts: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """int64 [n] places of texts among those known, -1 where one is not.

    Truth values and whole numbers may be spelt otherwise than there.
    """
    numbers = {spelling(name): number for number, name in enumerate(known)}
    numbers |= {name: number for number, name in enumerate(known)}
    found = [numbers.get(text, numbers.get(spelling(text), -1)) for text in texts]
    return np.array(found, dtype=np.int64)


def new_values(count: int, name: str) -> list[str]:
    """A note on values of a category that a run's data lack, if there are any."""
    note = (
        f"{count:,} records have a {name!r} that the data of the run do not have; it"
        " counts as missing"
    )
    return [note] if count else []


def class_numbers(
    labels: pd.Series, classes: Sequence[str], expected: str, numbered: bool = False
) -> np.ndarray:
    """int64 [n] classes of labels, -1 where there is none.

    Args:
        labels: each one of ``classes``.
        classes: in the order of their numbers.
        expected: of a label, for messages.
        numbered: a label may also be the number of its class.

    Raises:
        DataError: for any other label, with its row.
    """
    texts = [text_of(value) for value in labels]
    found = numbers_of(texts, classes)
    if numbered:
        places = numbers_of(texts, list(map(str, range(len(classes)))))
        found = np.where(found < 0, places, found)
    for row, text, number in zip(labels.index, texts, found, strict=True):
        if text and number < 0:
            raise DataError(
                f"row {row}: unknown label {text[:SHOWN]!r}; expected {expected}, or"
                " nothing where it is to be predicted"
            )
    return found


def expected_classes(classes: Sequence[str]) -> str:
    """The first few classes, for messages."""
    return f"one of {', '.join(classes[:5])}{', ...' * (len(classes) > 5)}"


def texts(column: pd.Series, name: str) -> list[str]:
    """The texts of a column.

    Raises:
        DataError: for a cell without text, with its row.
    """
    found = [text_of(value) for value in column]
    if "" in found:
        row = column.index[found.index("")]
        raise DataError(f"row {row}: no {name}; expected a text")
    return found


def vectors(
    column: pd.Series, name: str, size: int, low: float, high: float
) -> np.ndarray:
    """float64 [n, size]: a list of numbers a cell, or the text of one, as CSV has it.

    Raises:
        DataError: for a cell that is no list, of another length, or with a number out
            of range or NaN, with its row.
    """
    expected = f"expected {size} numbers from {low:g} to {high:g}"
    found = np.empty((len(column), size))
    for place, (row, cell) in enumerate(column.items()):
        try:
            values = json.loads(cell) if isinstance(cell, str) else cell
            numbers = np.asarray(values, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise DataError(
                f"row {row}: {name} is no list of numbers; {expected}, such as"
                ' "[0.5, 1, ...]"'
            ) from None
        if len(numbers) != size:
            raise DataError(f"row {row}: {name} has {len(numbers)} numbers; {expected}")
        wrong = np.flatnonzero(~((numbers >= low) & (numbers <= high)))  # NaN too
        if len(wrong):
            raise DataError(
                f"row {row}: {name} has {numbers[wrong[0]]:g} at position {wrong[0]};"
                f" {expected}"
            )
        found[place] = numbers
    return found


def divided_by_label(
    columns: dict[str, np.ndarray], label: np.ndarray, classes: Sequence[str]
) -> UserRecords:
    """Records of which those with a class (0 or more) are support, the others query.

    A column `label` is added.
    """
    there = label >= 0
    return UserRecords(
        {**columns, "label": label.clip(0)},
        np.flatnonzero(there),
        np.flatnonzero(~there),
        classes,
        [],
    )
