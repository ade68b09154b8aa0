"""Local numbers of services and blocks of codes: by hand, and record by record."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from fedmeta.benchmarks.recommendation.blocks import (
    BLOCKS,
    NOTHING,
    service_numbers,
    time_codes,
    user_starts,
    with_slots,
)
from fedmeta.benchmarks.recommendation.log import UsageLog

MONDAY = 4 * 86_400  # 1970-01-05T00:00
NAMES = list(BLOCKS)


def number(users):
    """Numbers of services of users, each a string of one letter a service."""
    codes = [np.array([ord(letter) - ord("a") for letter in user]) for user in users]
    starts = np.append(0, np.cumsum([len(user) for user in users]))
    numbers = service_numbers(np.concatenate(codes), starts)
    assert numbers.dtype == np.int32
    return [part.tolist() for part in np.split(numbers, starts[1:-1])]


def slotted(user, slots, support):
    """Labels of a user; the support is the number of the first records, or a list."""
    columns = {
        "number": np.array(*number([user])),
        "time_codes": np.zeros((len(user), 7), np.uint8),
    }
    rows = np.arange(support) if isinstance(support, int) else np.array(support)
    label = with_slots(columns, rows, slots)["label"]
    assert label.dtype == np.int16
    return label.tolist()


def test_services_are_numbered_as_they_first_appear():
    assert number(["zzaz", "a", "bca"]) == [[0, 0, 1, 0], [0], [0, 1, 2]]
    assert slotted("zzaz", 40, 1) == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("user", "slots", "support", "labels"),
    [
        # of aaabbccc a and c are the most frequent; d and e come too late
        ("aaabbcccde", 2, 8, [0, 0, 0, -1, -1, 1, 1, 1, -1, -1]),
        # of abbccdbc a and d are as rare, and a was seen before d
        ("abbccdbcda", 3, 8, [0, 1, 1, 2, 2, -1, 1, 2, -1, 0]),
        ("abcde", 4, 4, [0, 1, 2, 3, -1]),
        # two services; e and f are first seen later and one slot is left
        ("abababab" + "ef", 3, 8, [0, 1] * 4 + [2, -1]),
        # later records do not count: d is rare in the support
        ("aabbccdd" + "dd", 3, 8, [0, 0, 1, 1, 2, 2, -1, -1, -1, -1]),
        ("aabbccdd" + "dd", 3, 10, [0, 0, 1, 1, -1, -1, 2, 2, 2, 2]),
        # a small support: what it lacks has slots as it appears
        ("aabbbbbccc", 2, 1, [0, 0, 1, 1, 1, 1, 1, -1, -1, -1]),
        # a support within: its services come first, whatever was seen before it
        ("abcdeffab", 2, [5, 6], [0, -1, -1, -1, -1, 1, 1, 0, -1]),
        ("x", 1, 1, [0]),
        ("xy", 1, 1, [0, -1]),
    ],
)
def test_more_services_than_slots(user, slots, support, labels):
    assert slotted(user, slots, support) == labels


def test_no_service_has_no_number_and_takes_none():
    numbers = service_numbers(np.array([-1, 3, -1, 5, -1]), np.array([0, 5]))
    assert numbers.tolist() == [-1, 0, -1, 1, -1]


def make_log(users):
    """A log of [(time, gap, service)] of each user."""
    rows = [(u, *record) for u, user in enumerate(users) for record in user]
    table = pd.DataFrame(rows, columns=["user", "time", "gap", "service"])
    table["gap"] = table["gap"].astype(float)
    for name in ("user", "service"):
        table[name] = pd.Categorical(table[name])
    return UsageLog(table, [], False, ends=None)


def codes_of(log, slots=40, session_gap=300):
    starts = user_starts(log)
    service = log.table["service"].cat.codes.to_numpy()
    numbers = service_numbers(service, starts)
    times = time_codes(log, starts, session_gap)
    users = []
    for start, stop in zip(starts, starts[1:], strict=False):
        columns = {"number": numbers[start:stop], "time_codes": times[start:stop]}
        support = np.arange(int(0.8 * (stop - start) + 1e-9))
        users.append(with_slots(columns, support, slots))
    codes = np.concatenate([user["codes"] for user in users])
    label = np.concatenate([user["label"] for user in users])
    assert (codes.dtype, codes.shape) == (np.uint8, (len(label), len(BLOCKS)))
    return dict(zip(NAMES, codes.T.tolist(), strict=True)), label


def test_blocks_by_hand():
    saturday = MONDAY + 5 * 86_400
    log = make_log(
        [
            [
                (MONDAY + 3_600, np.nan, "mail"),
                (MONDAY + 3_600 + 14, 14, "maps"),
                (MONDAY + 3_600 + 29, 15, "mail"),
                (MONDAY + 3_600 + 329, 300, "taxi"),  # not more than the gap
                (saturday - 1, 5 * 86_400 - 3_930, "taxi"),
                (saturday, 1, "mail"),
            ],
            [(saturday + 86_400 + 23 * 3_600, np.nan, "taxi")],
        ]
    )
    codes, _ = codes_of(log)
    none = NOTHING
    expected = {
        "previous_service": [none, 0, 1, 0, 2, 2, none],
        "hour": [1, 1, 1, 1, 23, 0, 23],
        "weekday": [0, 0, 0, 0, 4, 5, 6],
        "weekend": [none, none, none, none, none, 0, 0],
        "session_start": [0, none, none, none, 0, none, 0],
        "since_previous": [none, 0, 1, 3, 7, 0, none],
        "position_in_session": [0, 1, 2, 2, 0, 1, 0],
        "distinct_in_session": [0, 1, 2, 2, 0, 1, 0],
        "recent_0": [none, 0, 0, 0, 0, 0, none],
        "recent_1": [none, none, 0, 0, 0, 0, none],
        "recent_2": [none, none, none, none, 0, 0, none],
        "recent_3": [none] * 7,
    }
    assert {name: codes[name] for name in expected} == expected


def test_buckets_grow_fourfold():
    gaps = [14.9, 15, 59, 60, 240, 960, 3_840, 15_360, 61_439, 61_440, 1e9]
    records = [(0, np.nan, "a"), *((0, gap, "a") for gap in gaps)]
    codes, _ = codes_of(make_log([records]))
    assert codes["since_previous"][1:] == [0, 1, 1, 2, 3, 4, 5, 6, 6, 7, 7]


def test_buckets_of_a_session():
    services = "aabacd"
    records = [(0, np.nan if i == 0 else 1, s) for i, s in enumerate(services)]
    codes, _ = codes_of(make_log([records]))
    assert codes["position_in_session"] == [0, 1, 2, 2, 3, 3]
    assert codes["distinct_in_session"] == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("seed", range(5))
def test_blocks_and_numbers_record_by_record(seed):
    """A second, slow reading of the same rules."""
    rng = np.random.default_rng(seed)
    users = []
    for _ in range(6):
        size = int(rng.integers(1, 120))
        gaps = np.round(np.exp(rng.normal(4, 3, size)), 1)
        times = MONDAY + np.cumsum(gaps).astype(int)
        services = rng.choice(list("abcdefghijklmnop"), size, p=_zipf(16))
        gaps[0] = np.nan
        users.append(list(zip(times.tolist(), gaps, services, strict=True)))
    codes, label = codes_of(make_log(users), slots=9)
    slow = [row for user in users for row in _slow_rows(user, 9, 300)]
    assert [row.pop("label") for row in slow] == label.tolist()
    for name in NAMES:
        assert codes[name] == [row.get(name, NOTHING) for row in slow], name


def _zipf(n):
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


def _slow_labels(services, slots):
    known = Counter(services[: int(0.8 * len(services) + 1e-9)])
    keep = [service for service, _ in known.most_common(slots)]  # first seen first
    labels = {}
    for service in services:
        if service in labels or (service in known and service not in keep):
            continue
        if len(labels) < slots:
            labels[service] = len(labels)
    return [labels.get(service, -1) for service in services]


def _slow_rows(user, slots, session_gap):
    labels = _slow_labels([service for *_, service in user], slots)
    session = []
    for i, (time, gap, service) in enumerate(user):
        stamp = pd.Timestamp(time, unit="s")
        row = {"label": labels[i], "hour": stamp.hour, "weekday": stamp.weekday()}
        if stamp.weekday() in (5, 6):
            row["weekend"] = 0
        if i == 0 or gap > session_gap:
            row["session_start"], session = 0, []
        if i > 0:
            row["since_previous"] = sum(gap >= 15 * 4**k for k in range(7))
            if labels[i - 1] >= 0:
                row["previous_service"] = labels[i - 1]
        row["position_in_session"] = sum(len(session) >= edge for edge in (1, 2, 4))
        row["distinct_in_session"] = min(3, len(set(session)))
        for recent in set(labels[max(0, i - 10) : i]) & set(range(10)):
            row[f"recent_{recent}"] = 0
        session.append(service)
        yield row
