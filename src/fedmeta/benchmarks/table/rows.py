"""One client's rows of a table, with the columns of the table that was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from pyarrow import csv as arrow_csv

from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.user_records import (
    SHOWN,
    TableForm,
    UserRecords,
    class_numbers,
    divided_by_label,
    expected_classes,
    new_values,
    numbers_of,
    text_of,
)
from fedmeta.late import pd

MISSING = arrow_csv.ConvertOptions().null_values  # "", "NA", ...: as a run reads CSV


def names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Client, label, numbers and categories, as the table calls them."""
    numbers, categories = (json.loads(metadata[k]) for k in ("numbers", "categories"))
    return *json.loads(metadata["roles"]), *numbers, *categories


def read(
    rows: pd.DataFrame, codebook: Codebook, metadata: Mapping[str, str]
) -> UserRecords:
    """Rows in which a number may be missing, and a category too or of another value."""
    _, label_column = json.loads(metadata["roles"])
    classes = json.loads(metadata["classes"])
    label = class_numbers(rows[label_column], classes, expected_classes(classes))
    columns: dict[str, np.ndarray] = {}
    if numbers := json.loads(metadata["numbers"]):
        columns["numbers"] = np.stack([_numbers(rows[n], n) for n in numbers], 1)
    notes: list[str] = []
    if categories := json.loads(metadata["categories"]):
        codes = []
        for name, values in categories.items():
            texts = [text_of(value) for value in rows[name]]
            codes.append(numbers_of(texts, values).astype(np.int32))
            notes += new_values(sum(map(bool, texts)) - (codes[-1] >= 0).sum(), name)
        columns["categories"] = np.stack(codes, 1)
    return divided_by_label(columns, label, classes)._replace(notes=notes)


def example(metadata: Mapping[str, str]) -> pd.DataFrame:
    """Two records, and one to be classified."""
    client, label = json.loads(metadata["roles"])
    numbers, categories = (json.loads(metadata[k]) for k in ("numbers", "categories"))
    # a category may have no values, of a column in which all are missing
    told = {name: values or [""] for name, values in categories.items()}
    first, second, *_ = json.loads(metadata["classes"])
    return pd.DataFrame(
        {
            client: "ann",
            label: [first, second, None],
            **{name: [0.0, 1.0, 0.5] for name in numbers},
            **{name: [v[0], v[-1], v[0]] for name, v in told.items()},
        }
    )


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    """float32 [n], NaN where there is none, or none that is finite."""
    found = np.full(len(column), np.nan, np.float32)
    for place, (row, value) in enumerate(column.items()):
        text = text_of(value)
        try:
            found[place] = float("nan" if text in MISSING else text)
        except ValueError:
            raise DataError(
                f"row {row}: {name} is {text[:SHOWN]!r}; expected a number, or nothing"
                " where it is missing"
            ) from None
    found[~np.isfinite(found)] = np.nan
    return found


FORM = TableForm(names, read, example)
