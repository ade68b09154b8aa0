"""The records of some files as one table: users by name, their records by time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from fedmeta.benchmarks.recommendation.times import (
    NUMBERS,
    SECOND,
    ZONED,
    Times,
    read_times,
)
from fedmeta.benchmarks.recommendation.values import (
    categorical,
    circumstances,
    identifiers,
)
from fedmeta.data.errors import DataError
from fedmeta.data.names import alike
from fedmeta.data.tables import RawTable, read_table
from fedmeta.late import pd

SYNTHETIC_USER = "synthetic-"  # how the names of generated users begin
OWN_NAMES = ("user", "instant", "time", "service", "gap")  # columns of our tables

Values: TypeAlias = "pd.Categorical | np.ndarray"
Source: TypeAlias = str | Path | RawTable  # of a log: a file, or what was in one


class LogColumns(NamedTuple):
    """Names of columns in a file."""

    user: str
    time: str
    service: str
    context: tuple[str, ...] = ()  # known before a service is chosen: battery level
    event: tuple[str, ...] = ()  # of the use itself, known afterwards: its category

    @property
    def others(self) -> tuple[str, ...]:
        """Those that not every log has."""
        return (*self.context, *self.event)


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


class _Part(NamedTuple):
    """The records of one file."""

    path: Path
    times: Times
    values: dict[str, Values]  # users, services and the other columns
    notes: list[str]
    synthetic: bool


def read_rows(sources: Sequence[Source], columns: LogColumns) -> UsageLog:
    """Read files of usage records; a user may be in several.

    Returns:
        Records that have a user and a service, by user and instant. The table has a
        column `instant` (int64 ns), too, and gaps are those to the record before.

    Raises:
        DataError: for a file of another form, a missing column, a time that cannot be
            read, files that are no one log, or no records at all.
    """
    _check_columns(columns)
    files = [_read_part(source, columns) for source in sources]
    parts = [part for part in files if part is not None]
    if not parts:
        raise DataError(f"{_listed(sources)}: no records in the log; check the file")
    for part in parts[1:]:
        _check_agreement(parts[0], part)
    notes = _time_notes([part.times for part in parts])
    notes += [note for part in parts for note in part.notes]
    table = _concatenated(parts)
    nameless = table[["user", "service"]].isna().any(axis=1).to_numpy()
    if nameless.all():
        raise DataError(
            f"{_listed(sources)}: no record has both a user and a service; check "
            f"columns {columns.user!r} and {columns.service!r}"
        )
    if nameless.any():
        notes.append(f"{nameless.sum():,} records without user or service are left out")
        table = table[~nameless]
    for name in table.select_dtypes("category"):
        table[name] = table[name].cat.remove_unused_categories()
    for name in ("user", "service"):
        notes += alike(table[name].cat.categories, f"{name}s")
    table, late = _in_order(table)
    if late:
        notes.append(f"{late:,} records were out of order and were sorted")
    same = same_user(table)
    gap = np.full(len(table), np.nan)
    gap[1:] = np.diff(table["instant"].to_numpy()) / SECOND
    gap[1:][~same] = np.nan
    table.insert(table.columns.get_loc("service") + 1, "gap", gap)
    last = np.append(~same, True)
    instant, clock = (table[name].to_numpy()[last] for name in ("instant", "time"))
    ends = Times(instant, clock, parts[0].times.form)
    return UsageLog(table, notes, parts[0].synthetic, ends)


def same_user(table: pd.DataFrame) -> np.ndarray:
    """bool [n - 1]: whether row i + 1 is of the same user as row i."""
    user = table["user"].cat.codes.to_numpy()
    return user[1:] == user[:-1]


def _check_columns(columns: LogColumns) -> None:
    names = (columns.user, columns.time, columns.service, *columns.others)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"column {twice!r} is asked for twice; name each once: user, time, service,"
            " context (known before the service is chosen) or event (known afterwards)"
        )
    taken = next((name for name in columns.others if name in OWN_NAMES), None)
    if taken is not None:
        raise DataError(
            f"a context or event column cannot be called {taken!r}, which is one of "
            f"our {', '.join(OWN_NAMES)}: rename it in the log"
        )


def _read_part(source: Source, columns: LogColumns) -> _Part | None:
    """The records of a file, None if it has none."""
    ids = columns.user, columns.service
    raw = (
        source
        if isinstance(source, RawTable)
        else read_table(Path(source), columns.time, ids, columns.others)
    )
    if not len(raw.table):
        return None
    users = identifiers(raw, columns.user)
    values = {"user": users, "service": identifiers(raw, columns.service)}
    notes = []
    for name in columns.others:
        values[name], said = circumstances(raw, name)
        notes += said
    generated = bool(len(users.categories)) and all(
        name.startswith(SYNTHETIC_USER) for name in users.categories
    )
    times = read_times(raw.table[columns.time], raw.place)
    return _Part(raw.path, times, values, notes, raw.synthetic or generated)


def _check_agreement(first: _Part, other: _Part) -> None:
    """Refuse files that are not of one log."""
    if first.synthetic != other.synthetic:
        raise DataError(
            f"{other.path}: synthetic and real records together; keep them in "
            "different folders"
        )
    if first.times.form != other.times.form:
        raise DataError(
            f"{other.path}: times {other.times.form}, but in {first.path.name} "
            f"{first.times.form}; write all in one way"
        )
    for name, values in other.values.items():
        kinds = {_kind(values), _kind(first.values[name])}
        if kinds >= {"numbers", "texts"}:
            raise DataError(
                f"{other.path}: column {name!r} has {_kind(values)}, but in "
                f"{first.path.name} {_kind(first.values[name])}; write all in one way"
            )


def _kind(values: Values) -> str:
    if isinstance(values, pd.Categorical):
        return "texts"
    return "nothing" if np.isnan(values).all() else "numbers"


def _time_notes(times: Sequence[Times]) -> list[str]:
    if times[0].form == NUMBERS:
        return ["times are numbers since 1970: hours of the day are those of UTC"]
    if times[0].form != ZONED:
        return []
    offsets = np.concatenate([part.clock - part.instant // SECOND for part in times])
    if not offsets.any():
        return ["all times are in UTC: hours of the day are those of UTC"]
    if (offsets != offsets[0]).any():
        return [
            "times are in several zones: records are in the order of their instants, "
            "hours of the day are those of the clock as written"
        ]
    return []


def _concatenated(parts: Sequence[_Part]) -> pd.DataFrame:
    times = [part.times for part in parts]
    columns = {name: [p.values[name] for p in parts] for name in parts[0].values}
    return pd.DataFrame(
        {
            "user": _joined(columns.pop("user")),
            "instant": np.concatenate([part.instant for part in times]),
            "time": np.concatenate([part.clock for part in times]),
            "service": _joined(columns.pop("service")),
            **{name: _joined(values) for name, values in columns.items()},
        },
        copy=False,
    )


def _joined(values: Sequence[Values]) -> Values:
    """One column of those of several files; nothing goes with texts and numbers."""
    if not any(isinstance(part, pd.Categorical) for part in values):
        return np.concatenate(values)
    texts = [
        part
        if isinstance(part, pd.Categorical)
        else categorical(np.full(len(part), -1), [])
        for part in values
    ]
    return pd.api.types.union_categoricals(texts, sort_categories=True)


def _in_order(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """By user and instant, and how many came too late in their user's records."""
    user = table["user"].cat.codes.to_numpy()
    if (user[1:] < user[:-1]).any():
        table = table.take(np.argsort(user, kind="stable"))
    instant = table["instant"].to_numpy()
    late = int((same_user(table) & (instant[1:] < instant[:-1])).sum())
    if late:
        user = table["user"].cat.codes.to_numpy()
        table = table.take(np.lexsort((instant, user)))
    return table.reset_index(drop=True), late


def _listed(sources: Sequence[Source]) -> str:
    more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
    first = sources[0]
    return f"{first.path if isinstance(first, RawTable) else first}{more}"
