"""LSApp (Aliannejadi et al., TOIS 2021), as it is published.

A TSV of 3.66 million events on the phones of 292 people: an app was opened, closed,
interacted with or broke. Many events make one use, so records are found by the rule of
its authors' notebook, which makes 599,635 of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedmeta.benchmarks.recommendation.rows import (
    Columns,
    Source,
    UsageLog,
    read_rows,
    same_user,
)

COLUMNS = Columns("user_id", "timestamp", "app_name", event=("event_type",))
OPENED = "Opened"
PAUSE = 60  # seconds after which an app that is opened again is used again


def read_lsapp(sources: Sequence[Source]) -> UsageLog:
    """Read LSApp's events as records of use.

    A record begins with another user, another app, or the same one opened more than a
    minute after the last event. It has the time and type of its first event; its gap
    runs from the last event of the record before.

    Raises:
        DataError: as `log.read_log`, for a file that is not LSApp's.
    """
    log = read_rows(sources, COLUMNS)
    events = log.table
    app = events["service"].cat.codes.to_numpy()
    opened = (events["event_type"] == OPENED).to_numpy()
    begins = opened & (events["gap"].to_numpy() > PAUSE)
    begins[0] = True
    begins[1:] |= ~same_user(events) | (app[1:] != app[:-1])
    log.notes.append(f"{len(events):,} events are {begins.sum():,} records of use")
    records = events[begins].reset_index(drop=True)
    return log._replace(table=records.drop(columns="instant"))
