"""A usage log: who used which service when, and under what circumstances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedmeta.benchmarks.recommendation.rows import (
    Columns,
    Source,
    read_rows,
    same_user,
    seconds_between,
)
from fedmeta.benchmarks.recommendation.times import Times
from fedmeta.late import pd

__all__ = ["Columns", "UsageLog", "read_log"]


class UsageLog(NamedTuple):
    """Records of all users, each user's in the order of time.

    Attributes:
        table: `user` (categorical), `time` (int64 seconds since 1970 of the clock as it
            is written), `service` (categorical), `gap` (float64 seconds since the end
            of the user's record before; NaN: there is none), then the context and event
            columns (float32, NaN if missing; categorical for texts). Categories are
            sorted, and so are users.
        notes: what had to be done to the records, for the report.
        synthetic: whether the data say that they were generated: by the metadata of a
            Parquet file, or users that are all called synthetic-something.
        ends: when each user's records end, by user: what comes next has its gap to it.
    """

    table: pd.DataFrame
    notes: list[str]
    synthetic: bool
    ends: Times


def read_log(sources: Sequence[Source], columns: Columns) -> UsageLog:
    """Read CSV, TSV or Parquet files as one log; a user may be in several.

    Records without a user or service are left out, others put in order, and of records
    that agree in all columns asked for one is kept. The notes count them.

    Raises:
        DataError: for a file of another form, a missing column, a time that cannot be
            read, files that are no one log, or no records at all; names file and line,
            what is expected and the remedy.
    """
    rows, notes, synthetic, ends = read_rows(sources, columns)
    repeated = _repeated(rows)
    if repeated.any():
        notes.append(f"{repeated.sum():,} duplicate records were dropped")
        rows = rows[~repeated].reset_index(drop=True)
    return UsageLog(usage_table(rows, seconds_between(rows)), notes, synthetic, ends)


def usage_table(rows: pd.DataFrame, gap: np.ndarray) -> pd.DataFrame:
    """The table of a `UsageLog` from rows and their gaps."""
    table = rows.drop(columns="instant")
    table.insert(3, "gap", gap)
    return table


def _repeated(rows: pd.DataFrame) -> np.ndarray:
    """bool [n]: whether an earlier row is the same in all columns.

    Only rows of the same user and instant can be, and those are neighbours.
    """
    instant = rows["instant"].to_numpy()
    same = same_user(rows) & (instant[1:] == instant[:-1])
    tied = np.append(same, False) | np.append(False, same)
    repeated = np.zeros(len(rows), dtype=bool)
    repeated[tied] = rows[tied].duplicated().to_numpy()
    return repeated
