"""A usage log: who used which service when, and under what circumstances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedmeta.benchmarks.recommendation.rows import (
    LogColumns,
    Source,
    UsageLog,
    read_rows,
    same_user,
)
from fedmeta.late import pd

LSAPP = LogColumns("user_id", "timestamp", "app_name", event=("event_type",))
OPENED = "Opened"
PAUSE = 60  # seconds after which an app that is opened again is used again


def read_log(sources: Sequence[Source], columns: LogColumns) -> UsageLog:
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


def read_lsapp(sources: Sequence[Source], columns: LogColumns = LSAPP) -> UsageLog:
    """Read LSApp's events as records of use.

    As it is published (Aliannejadi et al., TOIS 2021), a TSV of 3.66 million events on
    the phones of 292 people: an app was opened, closed, interacted with or broke. Many
    events make one use, so records are found by the rule of its authors' notebook,
    which makes 599,635 of them.

    A record begins with another user, another app, or the same one opened more than a
    minute after the last event. It has the time and type of its first event; its gap
    runs from the last event of the record before.

    Raises:
        DataError: as `read_log`, for a file that is not LSApp's.
    """
    log = read_rows(sources, columns)
    events = log.table
    app = events["service"].cat.codes.to_numpy()
    opened = (events["event_type"] == OPENED).to_numpy()
    begins = opened & (events["gap"].to_numpy() > PAUSE)
    begins[0] = True
    begins[1:] |= ~same_user(events) | (app[1:] != app[:-1])
    log.notes.append(f"{len(events):,} events are {begins.sum():,} records of use")
    records = events[begins].reset_index(drop=True)
    return log._replace(table=records.drop(columns="instant"))


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
