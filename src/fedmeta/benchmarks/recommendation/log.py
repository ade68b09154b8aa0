"""A usage log: who used which service when, and under what circumstances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedmeta.benchmarks.recommendation.rows import (
    Columns,
    Source,
    UsageLog,
    read_rows,
    same_user,
)
from fedmeta.late import pd

__all__ = ["Columns", "UsageLog", "read_log"]


def read_log(sources: Sequence[Source], columns: Columns) -> UsageLog:
    """Read CSV, TSV or Parquet files as one log; a user may be in several.

    Records without a user or service are left out, others put in order, and of records
    that agree in all columns asked for one is kept. The notes count them.

    Raises:
        DataError: for a file of another form, a missing column, a time that cannot be
            read, files that are no one log, or no records at all; names file and line,
            what is expected and the remedy.
    """
    log = read_rows(sources, columns)
    repeated = _repeated(log.table.drop(columns="gap"))
    rows = log.table
    if repeated.any():
        log.notes.append(f"{repeated.sum():,} duplicate records were dropped")
        # Their gaps are zero: those of the others stay as they are.
        rows = rows[~repeated].reset_index(drop=True)
    return log._replace(table=rows.drop(columns="instant"))


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
