"""One user's own log, and the record that is still to come."""

from __future__ import annotations

import difflib
import json
import math
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from fedmeta.benchmarks.recommendation.blocks import with_slots
from fedmeta.benchmarks.recommendation.log import Columns, UsageLog
from fedmeta.benchmarks.recommendation.parse import pack_log, read_layout
from fedmeta.benchmarks.recommendation.times import (
    EXPECTED,
    LOCAL,
    SECOND,
    Times,
    read_times,
)
from fedmeta.data.errors import DataError
from fedmeta.data.names import listed

KINDS = {"numeric": "numbers", "categorical": "texts"}
Value = str | float  # of a context column


class Upcoming(NamedTuple):
    """A user's records, and as the last the one to come.

    Attributes:
        columns: as `blocks.with_slots` has them; the last record is of no service.
        services: names by local number.
        notes: what was done to the records, in counts.
    """

    columns: dict[str, np.ndarray]
    services: list[str]
    notes: list[str]


class Described(NamedTuple):
    """A context column of the data of a run, as their metadata have it."""

    name: str  # that of an event column begins with "previous"
    kind: str  # in `KINDS`
    values: list[str]  # of a category


def read_upcoming(
    path: str | Path,
    metadata: Mapping[str, str],
    at: str | int | datetime | None = None,
    context: Mapping[str, Value] | None = None,
) -> Upcoming:
    """Read one user's log in the terms of the data of a finished run.

    All records are known here, so where there are more services than slots, those used
    most in all of them get one.

    Args:
        path: a file of the form that those data were read from.
        metadata: of those data, as `parse.parse` gives it.
        at: when the next record will be, written as the times of the log; None: now, by
            the clock of the log.
        context: what is known of it: values of context columns, any of them.

    Raises:
        DataError: for a log that cannot be read or is of several users, for columns of
            another kind, and for a time or context that cannot be.
    """
    columns = _columns(metadata)
    log = read_layout(metadata["layout"], [path], columns)
    _check_single(path, log)
    described = [Described(**column) for column in json.loads(metadata["context"])]
    names = (*columns.context, *columns.event)
    table, notes = _in_terms(path, log, dict(zip(names, described, strict=True)))
    known = dict(zip(columns.context, described, strict=False))
    next_values = {
        name: _value(name, value, known) for name, value in (context or {}).items()
    }
    table = _extended(table, *_moment(at, log.ends), next_values)
    slots = int(metadata["slots"])
    clients, _ = pack_log(
        log._replace(table=table),
        columns,
        slots=slots,
        session_gap_minutes=float(metadata["session_gap_minutes"]),
    )
    found = with_slots(next(clients).columns, np.arange(len(table) - 1), slots)
    services = _by_label(found, table["service"].cat.categories)
    left_out = len(table["service"].cat.categories) - len(services)
    if left_out:
        notes.append(
            f"{left_out:,} services, those used least, are beyond the model's {slots} "
            "and are not recommended"
        )
    return Upcoming(found, services, log.notes + notes)


def _columns(metadata: Mapping[str, str]) -> Columns:
    named = json.loads(metadata["columns"])
    return Columns(
        *(named[role] for role in ("user", "time", "service")),
        *(tuple(named[role]) for role in ("context", "event")),
    )


def _check_single(path: str | Path, log: UsageLog) -> None:
    users = log.table["user"].cat.categories.tolist()
    if len(users) > 1:
        raise DataError(
            f"{path}: is of {len(users):,} users, {listed(users, 5)}; expected one "
            "user's own log: write each user's rows to a file of their own"
        )


def _in_terms(
    path: str | Path, log: UsageLog, described: Mapping[str, Described]
) -> tuple[pd.DataFrame, list[str]]:
    """The table with the categories of other data, and what that loses."""
    table, notes = log.table.copy(deep=False), []
    for name, column in described.items():
        values, expected = table[name], KINDS[column.kind]
        found = "texts" if values.dtype == "category" else "numbers"
        if values.isna().all():  # a column of nothing may have been read as either
            values = values.astype("category" if expected == "texts" else np.float32)
        elif found != expected:
            raise DataError(
                f"{path}: column {name!r} has {found}, but in the data of the run "
                f"{expected}; write it in that way"
            )
        if expected == "texts":
            had = values.notna().sum()
            values = values.cat.set_categories(column.values)
            strange = had - values.notna().sum()
            if strange:
                notes.append(
                    f"{strange:,} records have a {name!r} that the data of the run do "
                    "not have; it counts as missing"
                )
        table[name] = values
    return table, notes


def _value(name: str, value: Value, known: Mapping[str, Described]) -> Value:
    """The value of a context column, checked."""
    if name not in known:
        raise DataError(
            f"unknown context {name!r}; the run has "
            f"{listed(list(known), 5) if known else 'none'} (event columns are taken "
            "from the last record)"
        )
    if known[name].kind == "numeric":
        try:
            number = float(np.float32(value))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"context {name}={value}: expected a number")
        return number
    if value not in known[name].values:
        near = difflib.get_close_matches(str(value), known[name].values, n=1)
        guess = f"; is it {near[0]!r}?" if near else ""
        raise DataError(
            f"context {name}={value}: the data of the run have no such value, but "
            f"{listed(known[name].values, 5)}{guess}"
        )
    return value


def _moment(at: str | int | datetime | None, ends: Times) -> tuple[int, float]:
    """Seconds of the clock, and since the end of the last record."""
    last, last_clock = int(ends.instant[0]), int(ends.clock[0])
    if at is None:
        instant, name = time.time_ns(), "now"
        if ends.form == LOCAL:
            instant += int(time.localtime().tm_gmtoff) * SECOND
        # the offset is that of the last record's zone
        clock = instant // SECOND + last_clock - last // SECOND
    else:
        instant, clock = _read_moment(str(at), ends.form)
        name = str(at)
    if instant < last:
        raise DataError(
            f"{name} is before the log's last record, of "
            f"{np.datetime64(last_clock, 's')}; expected a later time: give one, or a "
            "log that ends before"
        )
    return clock, (instant - last) / SECOND


def _read_moment(at: str, form: str) -> tuple[int, int]:
    try:
        times = read_times(pa.chunked_array([[at]]), lambda _: "")
    except DataError:
        raise DataError(f"time {at!r} cannot be read; expected {EXPECTED}") from None
    if times.form != form:
        raise DataError(
            f"time {at!r} is written {times.form}, those of the log {form}; write both "
            "in one way"
        )
    return int(times.instant[0]), int(times.clock[0])


def _extended(
    table: pd.DataFrame, clock: int, gap: float, values: Mapping[str, Any]
) -> pd.DataFrame:
    """The table with a record more, of no service yet."""
    end = len(table)
    user = table["user"].iloc[0]
    longer = table.reindex(range(end + 1))
    for name, value in {"user": user, "time": clock, "gap": gap, **values}.items():
        longer.loc[end, name] = value
    return longer.astype({"time": np.int64})


def _by_label(columns: Mapping[str, np.ndarray], names: pd.Index) -> list[str]:
    """Names of services by their local number."""
    found, first = np.unique(columns["label"], return_index=True)
    return names[columns["service"][first[found >= 0]]].tolist()
