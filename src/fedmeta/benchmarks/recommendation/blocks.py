"""What a phone knows from its own log before each record, a number a block.

The paper's features have 103 dimensions of unknown composition, among them the service
last used and the time (Chen et al. 2018, section 4.3). These blocks need nothing but
the user's own records; context columns come beside them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from fedmeta.benchmarks.recommendation.log import UsageLog

SLOTS = 40  # local services: the outputs of the paper's models
NOTHING = 255  # the code of a block that says nothing
RECENT = 10  # records looked back on by as many recency blocks
# Lower ends of the buckets after the first.
SINCE_PREVIOUS = 15.0 * 4.0 ** np.arange(7)  # seconds: 15, 60, ... 61,440, or 17 h
POSITIONS = (1, 2, 4)  # records of the session before this one
DISTINCT = (1, 2, 3)  # different services among them
BLOCKS: dict[str, int] = {  # name -> how many codes there are
    "previous_service": SLOTS,
    "hour": 24,
    "weekday": 7,  # from Monday
    "weekend": 1,
    "session_start": 1,
    "since_previous": len(SINCE_PREVIOUS) + 1,
    "position_in_session": len(POSITIONS) + 1,
    "distinct_in_session": len(DISTINCT) + 1,
    **{f"recent_{service}": 1 for service in range(RECENT)},
}


class LocalLabels(NamedTuple):
    """Each user's own numbering of services."""

    label: np.ndarray  # int16 [n] in 0..slots - 1; -1 without a slot
    crowded: int  # users of more services than slots


def user_starts(log: UsageLog) -> np.ndarray:
    """int64 [users + 1]: where each user's records begin, and the end."""
    sizes = np.bincount(log.table["user"].cat.codes)
    return np.append(0, np.cumsum(sizes))


def local_labels(
    service: np.ndarray, starts: np.ndarray, slots: int, known: float
) -> LocalLabels:
    """Number each user's services in the order of their first appearance.

    Where the known records have more services than slots, the most frequent get one (of
    equals those seen first). Services first seen later get what is left. So a label
    depends on nothing behind the known records but the services seen before it.

    Args:
        service: int [n]; -1 is none and gets none.
        starts: of users' records, and the end.
        slots: how many numbers there are.
        known: share of each user's records, the first, in which services are counted.
    """
    sizes = np.diff(starts)
    user = np.repeat(np.arange(len(sizes)), sizes)
    # Pairs of user and service, numbered as they appear: each user's are neighbours.
    pair = pd.factorize(user * (int(service.max()) + 2) + service + 1)[0]
    first = np.flatnonzero(np.diff(np.maximum.accumulate(pair), prepend=-1))
    owner, real = user[first], service[first] >= 0
    early = np.arange(len(user)) - starts[user] < np.floor(known * sizes + 1e-9)[user]
    counts = np.where(real, np.bincount(pair[early], minlength=len(first)), 0)
    by_count = np.lexsort((-counts, owner))
    rank = np.empty(len(first), dtype=np.int64)
    rank[by_count] = _place(_changes(owner))
    number = _count_before(real & ((counts == 0) | (rank < slots)), _changes(owner))
    has_slot = real & ((counts == 0) | (rank < slots)) & (number < slots)
    label = np.where(has_slot, number, -1).astype(np.int16)
    return LocalLabels(label[pair], int((np.bincount(owner[real]) > slots).sum()))


def own_codes(
    log: UsageLog, label: np.ndarray, starts: np.ndarray, session_gap: float
) -> np.ndarray:
    """The codes of `BLOCKS`.

    Args:
        log: all users' records.
        label: int16 [n] local numbers of their services.
        starts: of users' records, and the end.
        session_gap: seconds; a longer gap begins a session.

    Returns:
        uint8 [n, blocks], `NOTHING` where a block does not apply.
    """
    time, gap = (log.table[name].to_numpy() for name in ("time", "gap"))
    service = log.table["service"].cat.codes.to_numpy().astype(np.int64)
    first = np.zeros(len(time), dtype=bool)
    first[starts[:-1]] = True
    begins = ~(gap <= session_gap)  # NaN, a user's first, begins one as well
    session = np.cumsum(begins)
    key = session * (service.max() + 2) + service + 1
    weekday = (time // 86_400 + 3) % 7  # 1970 began on a Thursday
    columns = {
        "previous_service": np.where(first, -1, np.roll(label, 1)),
        "hour": time // 3_600 % 24,
        "weekday": weekday,
        "weekend": np.where(weekday >= 5, 0, NOTHING),
        "session_start": np.where(begins, 0, NOTHING),
        "since_previous": np.where(first, NOTHING, _bucket(gap, SINCE_PREVIOUS)),
        "position_in_session": _bucket(_place(begins), POSITIONS),
        "distinct_in_session": _bucket(
            _count_before(~pd.Series(key).duplicated().to_numpy(), begins), DISTINCT
        ),
    }
    codes = np.full((len(time), len(BLOCKS)), NOTHING, dtype=np.uint8)
    for number, values in enumerate(columns.values()):
        codes[:, number] = values.astype(np.uint8)  # -1 becomes NOTHING
    _mark_recent(codes[:, len(columns) :], label, _place(first))
    return codes


def _mark_recent(codes: np.ndarray, label: np.ndarray, place: np.ndarray) -> None:
    """Write 0 in row i, column j where j is among the records before i."""
    for lag in range(1, RECENT + 1):
        before = label[:-lag]
        rows = np.flatnonzero((place[lag:] >= lag) & (before >= 0) & (before < RECENT))
        codes[rows + lag, before[rows]] = 0


def _bucket(values: np.ndarray, edges: np.ndarray | tuple[int, ...]) -> np.ndarray:
    return np.searchsorted(edges, values, side="right")


def _changes(values: np.ndarray) -> np.ndarray:
    """bool [n]: whether a value is not that before it."""
    return np.append(True, values[1:] != values[:-1])


def _place(begins: np.ndarray) -> np.ndarray:
    """int64 [n]: how many there are between this and the last that begins."""
    index = np.arange(len(begins))
    return index - np.maximum.accumulate(np.where(begins, index, 0))


def _count_before(marked: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """int64 [n]: how many are marked between this and the last that begins."""
    before = np.cumsum(marked) - marked
    return before - np.maximum.accumulate(np.where(begins, before, 0))
