"""One user's own log, and the record that is still to come."""

from __future__ import annotations

import difflib
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fedmeta.benchmarks.recommendation.blocks import with_slots
from fedmeta.benchmarks.recommendation.parse import LAYOUTS, pack_log
from fedmeta.benchmarks.recommendation.rows import LogColumns, Source, UsageLog
from fedmeta.benchmarks.recommendation.times import (
    EXPECTED,
    LOCAL,
    SECOND,
    Times,
    read_times,
)
from fedmeta.benchmarks.recommendation.values import categorical
from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.names import listed
from fedmeta.data.tables import RawTable
from fedmeta.data.user_records import (
    TableForm,
    UserRecords,
    check_columns,
    is_labelled,
    new_values,
    numbers_of,
    text_of,
)
from fedmeta.late import pd

KINDS = {"numeric": "numbers", "categorical": "texts"}
ContextValue = str | float  # of a context column
Moment = str | int | datetime | None  # None: now
ISO = "%Y-%m-%dT%H:%M:%S"


class Described(NamedTuple):
    """A context column of the data of a run, as their metadata have it."""

    name: str  # that of an event column begins with "previous"
    kind: str  # in `KINDS`
    values: list[str]  # of a category


def read_upcoming(
    log: str | Path | pd.DataFrame,
    metadata: Mapping[str, str],
    at: Moment = None,
    context: Mapping[str, ContextValue] | None = None,
) -> UserRecords:
    """Read one user's log in the terms of the data of a finished run.

    All records are known here, so where there are more services than slots, those used
    most in all of them get one.

    Args:
        log: a file of the form that those data were read from, or a table with its
            columns.
        metadata: of those data, as `parse.parse` gives it.
        at: when the next record will be, written as the times of the log; None: now, by
            the clock of the log.
        context: what is known of it: values of context columns, any of them.

    Returns:
        The log, and as the last record the one to come, of no service; columns as
        `blocks.with_slots` has them, and as classes the services by local number.

    Raises:
        DataError: for a log that cannot be read or is of several users, for columns of
            another kind, and for a time or context that cannot be.
    """
    source = _raw(log, metadata) if isinstance(log, pd.DataFrame) else log
    return _upcoming(source, metadata, [(at, context or {})])


def read_table(
    rows: pd.DataFrame, codebook: Codebook, metadata: Mapping[str, str]
) -> UserRecords:
    """Read a user's log from a table, where a row without a service is yet to come.

    Each such row is what `read_upcoming` makes of its time, or of now where it has
    none, and of its context: what comes after the records that are known, and of none
    of the other rows to come.
    """
    columns = _columns(metadata)
    known = is_labelled(rows[columns.service])
    to_come = rows[~known].copy()
    notes = []
    for name, column in zip(columns.context, _described(metadata), strict=False):
        if column.kind != "numeric":
            texts = [text_of(value) for value in to_come[name]]
            there = numbers_of(texts, column.values) >= 0
            to_come[name] = [
                text if own else None for text, own in zip(texts, there, strict=True)
            ]
            notes += new_values(sum(map(bool, texts)) - there.sum(), name)
    moments = [
        (
            text_of(row[columns.time]) or None,
            {name: row[name] for name in columns.context if text_of(row[name])},
        )
        for _, row in to_come.iterrows()
    ]
    found = _upcoming(_raw(rows[known], metadata), metadata, moments)
    return found._replace(notes=found.notes + notes)


def _raw(rows: pd.DataFrame, metadata: Mapping[str, str]) -> RawTable:
    columns, names = _columns(metadata), list(_names(metadata))
    check_columns(rows, names)
    log = rows[names].copy()
    for name, values in log.items():
        # A whole number of seconds may be a float, where another time is missing.
        seconds = name == columns.time and values.dtype.kind == "f"
        if values.dtype == object or name in (columns.user, columns.service) or seconds:
            log[name] = [text_of(value) or None for value in values]
    places = [f"row {row}" for row in log.index]
    # Texts are told from numbers as in a file without types.
    return RawTable(
        Path("table.csv"),
        pa.Table.from_pandas(log, preserve_index=False),
        False,
        places.__getitem__,
    )


def example(metadata: Mapping[str, str]) -> pd.DataFrame:
    """Three uses of services, and one that is to come."""
    columns = _columns(metadata)
    days = pd.date_range("2024-05-31T18:00", periods=4, freq="h").strftime(ISO)
    others = {
        name: [column.values[0] if column.values else 1.0] * 4
        for name, column in zip(columns.others, _described(metadata), strict=True)
    }
    named = {
        columns.user: "ann",
        columns.service: ["mail", "maps", "mail", None],
        columns.time: days,
        **others,
    }
    return pd.DataFrame(named)


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    columns = _columns(metadata)
    return columns.user, columns.service, columns.time, *columns.others


def _upcoming(
    source: Source,
    metadata: Mapping[str, str],
    to_come: Sequence[tuple[Moment, Mapping[str, ContextValue]]],
) -> UserRecords:
    """A user's log, and after its last record each of those to come, alone."""
    columns = _columns(metadata)
    log = LAYOUTS[metadata["layout"]]([source], columns)
    place = source.path if isinstance(source, RawTable) else source
    _check_single(place, log)
    described = _described(metadata)
    terms = dict(zip(columns.others, described, strict=True))
    table, notes = _in_terms(place, log, terms)
    known = dict(zip(columns.context, described, strict=False))
    slots, last = int(metadata["slots"]), len(table)
    versions = []
    for at, context in to_come:
        values = {name: _value(name, value, known) for name, value in context.items()}
        clients, _ = pack_log(
            log._replace(table=_extended(table, *_moment(at, log.ends), values)),
            columns,
            slots=slots,
            session_gap_minutes=float(metadata["session_gap_minutes"]),
        )
        versions.append(with_slots(next(clients).columns, np.arange(last), slots))
    found = {
        name: np.concatenate([values, *(v[name][last:] for v in versions[1:])])
        for name, values in versions[0].items()
    }
    services = _by_label(found, table["service"].cat.categories)
    left_out = len(table["service"].cat.categories) - len(services)
    if left_out:
        notes.append(
            f"{left_out:,} services, those used least, are beyond the model's {slots} "
            "and are not recommended"
        )
    return UserRecords(
        found,
        np.arange(last),
        last + np.arange(len(to_come)),
        services,
        log.notes + notes,
    )


def _columns(metadata: Mapping[str, str]) -> LogColumns:
    return LogColumns(**json.loads(metadata["columns"]))


def _described(metadata: Mapping[str, str]) -> list[Described]:
    return [Described(**column) for column in json.loads(metadata["context"])]


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
            places = numbers_of(list(values.cat.categories), column.values)
            codes = np.append(places, -1)[values.cat.codes]
            values = pd.Series(categorical(codes, column.values), values.index)
            notes += new_values(had - values.notna().sum(), name)
        table[name] = values
    return table, notes


def _value(
    name: str, value: ContextValue, known: Mapping[str, Described]
) -> ContextValue:
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
    place = numbers_of([text_of(value)], known[name].values).item()
    if place < 0:
        near = difflib.get_close_matches(str(value), known[name].values, n=1)
        guess = f"; is it {near[0]!r}?" if near else ""
        raise DataError(
            f"context {name}={value}: the data of the run have no such value, but "
            f"{listed(known[name].values, 5)}{guess}"
        )
    return known[name].values[place]


def _moment(at: Moment, ends: Times) -> tuple[int, float]:
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


TABLE = TableForm(_names, read_table, example)
