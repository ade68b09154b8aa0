"""Texts in CSV files that a spreadsheet must not run.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a
carriage return for a formula, and users, services and files may be called so. Such
texts are written behind an apostrophe, which spreadsheets take for the mark of a text,
and read without it; numbers stay as they are.
"""

import re
from os import PathLike
from typing import IO, Any

import pandas as pd

NAMES = ("client_id",)
# Of pandas: names that look like numbers, or like a missing value, are names.
READ = {
    "dtype": dict.fromkeys(NAMES, str),
    "keep_default_na": False,
    "na_values": [""],
}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before all texts that begin like a formula."""
    return _changed(table, lambda t: f"'{t}" if _FORMULA.match(t) else t)


def unguarded(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `guarded` was given, when its file is read with `READ`."""
    table = _changed(table, lambda t: t[1:] if _GUARDED.match(t) else t)
    there = [name for name in NAMES if name in table]
    return table.assign(**{n: table[n].astype("str").fillna("") for n in there})


def read_table(file: str | PathLike[str] | IO[bytes], **options: Any) -> pd.DataFrame:
    """A table of this project from its CSV file; options are pandas'."""
    return unguarded(pd.read_csv(file, **{**READ, **options}))


def write_table(table: pd.DataFrame, file: str | PathLike[str], **options: Any) -> None:
    """A table to a CSV file, without its index; options are pandas'."""
    guarded(table).to_csv(file, index=False, **options)


def _changed(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    texts = table.select_dtypes(exclude=["number", "bool", "datetime"])
    return table.assign(
        **{
            name: [change(v) if isinstance(v, str) else v for v in column]
            for name, column in texts.items()
        }
    )
