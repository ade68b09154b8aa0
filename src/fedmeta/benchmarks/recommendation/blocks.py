"""What a phone knows from its own log before each record, a number a block.

The paper's features have 103 dimensions of unknown composition, among them the service
last used and the time (Chen et al. 2018, section 4.3). These blocks need nothing but
the user's own records; context columns come beside them.
"""

from __future__ import annotations

import numpy as np

from fedmeta.benchmarks.recommendation.log import UsageLog
from fedmeta.late import pd

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


def user_starts(log: UsageLog) -> np.ndarray:
    """int64 [users + 1]: where each user's records begin, and the end."""
    sizes = np.bincount(log.table["user"].cat.codes)
    return np.append(0, np.cumsum(sizes))


def service_numbers(service: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """int32 [n] each user's services, numbered in the order of first appearance.

    Args:
        service: int [n]; -1 is none and gets none.
        starts: of users' records, and the end.
    """
    sizes = np.diff(starts)
    user = np.repeat(np.arange(len(sizes)), sizes)
    # Pairs of user and service, numbered as they appear: each user's are neighbours.
    pair = pd.factorize(user * (int(service.max()) + 2) + service + 1)[0]
    first = np.flatnonzero(np.diff(np.maximum.accumulate(pair), prepend=-1))
    real = service[first] >= 0
    number = _count_before(real, np.diff(user[first], prepend=-1) != 0)
    return np.where(real, number, -1).astype(np.int32)[pair]


def with_slots(
    columns: dict[str, np.ndarray], support: np.ndarray, slots: int
) -> dict[str, np.ndarray]:
    """A user's columns, with slots for the services and all codes of `BLOCKS`.

    Where there are more services than slots, the most frequent in the support records
    get one (of equals those seen first), and what is left goes to others as they first
    appear. So the label and the codes of a record depend on the support and on records
    up to it, and on no others.

    Args:
        columns: as `parse.parse` has them.
        support: record numbers that the user's model learns from.
        slots: how many services are told apart.

    Returns:
        The columns and `label`, int16 [n] in 0..slots - 1, -1 without a slot; `codes`,
        uint8 [n, blocks], `NOTHING` where a block does not apply.
    """
    number, own = columns["number"], columns["time_codes"]
    seen = number[support]
    counts = np.bincount(seen[seen >= 0], minlength=number.max(initial=-1) + 1)
    given = np.zeros(len(counts), dtype=bool)
    given[np.argsort(-counts, kind="stable")[:slots]] = True
    slot = np.where(given, np.cumsum(given) - 1, -1)
    label = np.append(slot, -1)[number].astype(np.int16)  # number -1 takes the last
    codes = np.full((len(label), len(BLOCKS)), NOTHING, dtype=np.uint8)
    codes[1:, 0] = label[:-1].astype(np.uint8)  # -1 becomes NOTHING
    codes[:, 1 : own.shape[1] + 1] = own
    recent = codes[:, own.shape[1] + 1 :]
    for lag in range(1, RECENT + 1):
        before = label[:-lag]
        rows = np.flatnonzero((before >= 0) & (before < RECENT))
        recent[rows + lag, before[rows]] = 0
    return {**columns, "label": label, "codes": codes}


def time_codes(log: UsageLog, starts: np.ndarray, session_gap: float) -> np.ndarray:
    """The codes of those `BLOCKS` that do not depend on slots.

    Args:
        log: all users' records.
        starts: of users' records, and the end.
        session_gap: seconds; a longer gap begins a session.

    Returns:
        uint8 [n, 7], `NOTHING` where a block does not apply.
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
        "hour": time // 3_600 % 24,
        "weekday": weekday,
        "weekend": np.where(weekday >= 5, 0, NOTHING),
        "session_start": np.where(begins, 0, NOTHING),
        "since_previous": np.where(first, NOTHING, _bucket(gap, SINCE_PREVIOUS)),
        "position_in_session": _bucket(
            _count_before(np.ones_like(session), begins), POSITIONS
        ),
        "distinct_in_session": _bucket(
            _count_before(~pd.Series(key).duplicated().to_numpy(), begins), DISTINCT
        ),
    }
    return np.stack(list(columns.values()), axis=1).astype(np.uint8)


def _bucket(values: np.ndarray, edges: np.ndarray | tuple[int, ...]) -> np.ndarray:
    return np.searchsorted(edges, values, side="right")


def _count_before(marked: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """int64 [n]: how many are marked between this and the last that begins."""
    before = np.cumsum(marked) - marked
    return before - np.maximum.accumulate(np.where(begins, before, 0))
