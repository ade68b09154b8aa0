"""A usage log as packed clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fedmeta.benchmarks.recommendation.blocks import (
    NOTHING,
    SLOTS,
    service_numbers,
    time_codes,
    user_starts,
)
from fedmeta.benchmarks.recommendation.log import LSAPP, read_log, read_lsapp
from fedmeta.benchmarks.recommendation.rows import LogColumns, UsageLog
from fedmeta.data.errors import DataError, check_known
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import elsewhere, of_one_kind, raw_files
from fedmeta.data.tables import SUFFIXES
from fedmeta.late import pd

LAYOUTS = {"log": read_log, "lsapp": read_lsapp}


def find_raw(folder: str | Path) -> list[Path]:
    """The files of the log in a folder, by name.

    Raises:
        DataError: when there are none, or files of several kinds.
    """
    return of_one_kind(
        folder,
        [raw_files(folder, suffix) for suffix in SUFFIXES],
        f"none of {', '.join(f'*{s}' for s in SUFFIXES)} here"
        f"{elsewhere(folder, *SUFFIXES)}; copy a usage log there, unpacked",
    )


def parse(
    paths: Sequence[str | Path],
    *,
    user: str,
    time: str,
    service: str,
    context: Sequence[str] = (),
    event: Sequence[str] = (),
    slots: int = SLOTS,
    session_gap_minutes: float = 5,
    layout: str = "log",
    name: str | None = None,
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Read a log and what each user's phone would know before each record.

    All files are read before the first client: some 200 bytes a record.

    Args:
        paths: files of one log.
        user: column of a log; layout "lsapp" has its own.
        time: another,
        service: and another.
        context: columns that are known before a service is chosen.
        event: columns of the use itself; only the record before tells of them.
        slots: local services of a user; others always count as missed.
        session_gap_minutes: a longer pause begins a session.
        layout: one of `LAYOUTS`.
        name: what the data are called in reports; None: LSApp, or as the file.

    Returns:
        clients: by name, each of
            `time` int64 [n] seconds since 1970 of the clock as written,
            `service` int32 [n] position in metadata["services"],
            `number` int32 [n] of the service among the user's own, as they appear,
            `time_codes` uint8 [n, 7] of `blocks.BLOCKS` and
            `context` float32 [n, c] if there are such columns, event columns moved down
            by a record: numbers, or positions in metadata["context"]; NaN if missing.
        metadata: `benchmark`, `synthetic`, `source`, `slots`; json lists `services`,
            `context` (name, kind, values) and `notes`; `name` unless synthetic; how the
            log was read: `layout`, `columns` (json) and `session_gap_minutes`.

    Raises:
        DataError: for options out of range and anything that `read_log` refuses.
    """
    _check_options(slots, session_gap_minutes, layout)
    columns = LogColumns(user, time, service, tuple(context), tuple(event))
    if layout == "lsapp":
        columns = LSAPP
    log = LAYOUTS[layout](paths, columns)
    clients, notes = pack_log(
        log, columns, slots=slots, session_gap_minutes=session_gap_minutes
    )
    return clients, {
        "benchmark": "recommendation",
        **_origin(log, [Path(path) for path in paths], layout, name),
        "slots": str(slots),
        "layout": layout,
        "columns": json.dumps(columns._asdict()),
        "session_gap_minutes": str(session_gap_minutes),
        "services": json.dumps(log.table["service"].cat.categories.tolist()),
        "context": json.dumps(_describe(log, columns)),
        "notes": json.dumps(log.notes + notes),
    }


def pack_log(
    log: UsageLog, columns: LogColumns, *, slots: int, session_gap_minutes: float
) -> tuple[Iterator[ClientRecords], list[str]]:
    """The users of a log as packed clients, and what the report should say of them.

    Arguments and clients are as `parse` has them. A record without a service, such as
    one that is still to come, gets -1 for it.
    """
    starts = user_starts(log)
    service = log.table["service"].cat.codes.to_numpy().astype(np.int32)
    number = service_numbers(service, starts)
    arrays = {
        "time": log.table["time"].to_numpy(),
        "service": service,
        "number": number,
        "time_codes": time_codes(log, starts, 60 * session_gap_minutes),
    }
    if columns.context or columns.event:
        arrays["context"] = _context(log, columns, starts)
    users = log.table["user"].cat.categories.tolist()
    return _clients(users, starts, arrays), _user_notes(number, starts, slots)


def _check_options(slots: int, gap: float, layout: str) -> None:
    check_known(layout, LAYOUTS, "layout")
    if not 1 <= slots < NOTHING:
        raise DataError(f"slots {slots}: expected 1 to {NOTHING - 1}; the paper has 40")
    if gap <= 0:
        raise DataError(f"session_gap_minutes {gap}: expected more than 0")


def _origin(
    log: UsageLog, paths: Sequence[Path], layout: str, name: str | None
) -> dict[str, str]:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    files = f"{paths[0].name}{more}"
    if not log.synthetic:
        own = "LSApp" if layout == "lsapp" else files
        return {"synthetic": "false", "source": files, "name": name or own}
    if name is not None:
        raise DataError(
            f"{paths[0]}: is synthetic and cannot be called {name!r}; set name to null"
        )
    return {"synthetic": "true", "source": f"generated records, as {files} says"}


def _context(log: UsageLog, columns: LogColumns, starts: np.ndarray) -> np.ndarray:
    """float32 [n, c]."""
    values = [_numbers(log.table[name]) for name in columns.context]
    for name in columns.event:
        before = np.roll(_numbers(log.table[name]), 1)
        before[starts[:-1]] = np.nan
        values.append(before)
    return np.stack(values, axis=1)


def _numbers(column: pd.Series) -> np.ndarray:
    if column.dtype != "category":
        return column.to_numpy()
    codes = column.cat.codes.to_numpy().astype(np.float32)
    codes[codes < 0] = np.nan
    return codes


def _describe(log: UsageLog, columns: LogColumns) -> list[dict]:
    found = []
    for name in columns.others:
        column = log.table[name]
        categorical = column.dtype == "category"
        found.append(
            {
                "name": f"previous {name}" if name in columns.event else name,
                "kind": "categorical" if categorical else "numeric",
                "values": column.cat.categories.tolist() if categorical else [],
            }
        )
    return found


def _user_notes(number: np.ndarray, starts: np.ndarray, slots: int) -> list[str]:
    notes = []
    users = len(starts) - 1
    single = int((np.diff(starts) == 1).sum())
    crowded = int((np.maximum.reduceat(number, starts[:-1]) >= slots).sum())
    if single:
        notes.append(f"{single:,} of {users:,} users have a single record")
    if crowded:
        notes.append(f"{crowded:,} of {users:,} users have more than {slots} services")
    return notes


def _clients(
    users: Sequence[str], starts: np.ndarray, arrays: dict[str, np.ndarray]
) -> Iterator[ClientRecords]:
    bounds = starts.tolist()
    for user, start, stop in zip(users, bounds, bounds[1:], strict=False):
        yield ClientRecords(
            user, {name: values[start:stop] for name, values in arrays.items()}
        )
