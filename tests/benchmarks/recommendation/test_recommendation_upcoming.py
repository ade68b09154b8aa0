"""One user's log in the terms of a run, and the record to come."""

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from fedmeta.benchmarks.recommendation import upcoming
from fedmeta.benchmarks.recommendation.blocks import with_slots
from fedmeta.benchmarks.recommendation.parse import parse
from fedmeta.benchmarks.recommendation.upcoming import read_upcoming
from fedmeta.data.errors import DataError

HEADER = "who,when,what,battery,net,kind"
OPTIONS = {
    **{"user": "who", "time": "when", "service": "what"},
    "context": ["battery", "net"],
    "event": ["kind"],
}
OWN = [
    "zoe,2024-05-31T12:00,mail,80,wifi,work",
    "zoe,2024-05-31T12:01,maps,,lte,",
    "zoe,2024-05-31T12:04,mail,70,,play",
]


def write(path, *lines, header=HEADER):
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def trained_on(path, **options):
    """The metadata of a run on a file."""
    return parse([path], **{**OPTIONS, **options})[1]


@pytest.fixture
def metadata(tmp_path):
    """Of a run with more kinds of networks than Zoe knows, and other services."""
    rows = [
        f"u{i},2024-01-01,s{i},{i},{net},{kind}"
        for i, (net, kind) in enumerate(
            [("cable", "play"), ("lte", "rest"), ("wifi", "work")]
        )
    ]
    return trained_on(write(tmp_path / "run.csv", *rows))


@pytest.fixture
def own(tmp_path):
    return write(tmp_path / "own.csv", *OWN)


def test_the_record_to_come_is_packed_as_it_would_be_had_it_come(own, tmp_path):
    coming = "zoe,2024-05-31T12:10,news,55,lte,rest"  # a session of its own
    whole = write(tmp_path / "whole.csv", *OWN, coming)
    clients, metadata = parse([whole], **OPTIONS)
    (expected,) = (with_slots(c.columns, np.arange(3), 40) for c in clients)
    found = read_upcoming(
        own, metadata, "2024-05-31T12:10", {"battery": "55", "net": "lte"}
    )
    assert found.columns.keys() == expected.keys()
    for name, values in expected.items():
        assert found.columns[name].dtype == values.dtype, name
        if name in ("service", "number", "label"):
            values[-1] = -1  # of which nothing is known yet
        np.testing.assert_array_equal(found.columns[name], values, err_msg=name)
    assert found.classes == ["mail", "maps"]
    assert found.notes == []


def test_lsapps_events_go_on_from_the_last(tmp_path):
    header = "user_id\tsession_id\ttimestamp\tapp_name\tevent_type"
    rows = [
        "0\t1\t2018-01-16 06:01:05\tMines\tOpened",
        "0\t1\t2018-01-16 06:03:07\tGmail\tOpened",
        "0\t1\t2018-01-16 06:09:00\tGmail\tClosed",
    ]
    coming = "0\t1\t2018-01-16 06:13:00\tMines\tOpened"  # four minutes after
    whole = write(tmp_path / "whole.tsv", *rows, coming, header=header)
    clients, metadata = parse([whole], **OPTIONS, layout="lsapp")
    (expected,) = (with_slots(c.columns, np.arange(3), 40) for c in clients)
    own = write(tmp_path / "own.tsv", *rows, header=header)
    found = read_upcoming(own, metadata, "2018-01-16 06:13:00")
    for name in ("time", "codes", "context"):
        np.testing.assert_array_equal(found.columns[name], expected[name])
    assert found.classes == ["Mines", "Gmail"]


def test_categories_are_those_of_the_run(own, metadata):
    context = read_upcoming(own, metadata, "2024-06-01", {"net": "cable"}).columns[
        "context"
    ]
    nan = (
        np.nan
    )  # cable, lte, wifi are 0, 1, 2; play, rest, work too, of the one before
    np.testing.assert_array_equal(
        context, [[80, 2, nan], [nan, 1, 2], [70, nan, nan], [nan, 0, 0]]
    )


def test_what_the_run_does_not_have_counts_as_missing(metadata, tmp_path):
    rows = [OWN[0].replace("wifi", "fibre"), OWN[1], *OWN[1:]]
    path = write(tmp_path / "own.csv", *rows)
    found = read_upcoming(path, metadata, "2024-06-01")
    np.testing.assert_array_equal(
        found.columns["context"][:, 1], [np.nan, 1, np.nan, np.nan]
    )
    assert found.notes == [
        "1 duplicate records were dropped",
        "1 records have a 'net' that the data of the run do not have; it counts as "
        "missing",
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_may_be_empty(metadata, tmp_path, suffix):
    path = write(tmp_path / "own.csv", "zoe,2024-05-31T12:00,mail,,,")
    if suffix == "parquet":
        frame = pd.read_csv(path)
        texts = dict.fromkeys(("battery", "net", "kind"), "str")
        path = tmp_path / "own.parquet"
        frame.astype(texts).to_parquet(path)
    found = read_upcoming(path, metadata, "2024-06-01", {"battery": 3, "net": "lte"})
    np.testing.assert_array_equal(
        found.columns["context"], [[np.nan] * 3, [3, 1, np.nan]]
    )
    assert (found.classes, found.notes) == (["mail"], [])


def test_services_beyond_the_slots_are_those_used_least(metadata, tmp_path):
    """All records count: in the first 80 %, c is not ahead of b."""
    rows = [f"zoe,2024-05-31T12:0{i},{s},,," for i, s in enumerate("aabbccc")]
    path = write(tmp_path / "own.csv", *rows)
    found = read_upcoming(path, {**metadata, "slots": "2"}, "2024-06-01")
    assert found.classes == ["a", "c"]
    assert found.columns["label"].tolist() == [0, 0, -1, -1, 1, 1, 1, -1]
    assert found.notes == [
        "1 services, those used least, are beyond the model's 2 and are not recommended"
    ]


@pytest.mark.parametrize(
    ("first", "last", "clock", "bucket"),
    [
        # the clock of the last record's zone, wherever this machine is
        (
            "2024-05-31T12:00+02:00",
            "2024-05-31T12:00-03:00",
            "18:30",
            6,  # 6.5 hours
        ),
        ("2024-05-31T12:00Z", "2024-05-31T20:00Z", "21:30", 5),  # 1.5 hours
        # numbers are of UTC
        ("1717156800", "1717189140", "21:30", 4),  # 20:59
    ],
)
def test_now_is_by_the_clock_of_the_log(
    metadata, tmp_path, monkeypatch, first, last, clock, bucket
):
    now = datetime(2024, 5, 31, 21, 30, tzinfo=UTC)
    monkeypatch.setattr(upcoming.time, "time_ns", lambda: int(now.timestamp() * 1e9))
    path = write(tmp_path / "own.csv", f"zoe,{first},a,,,", f"zoe,{last},b,,,")
    columns = read_upcoming(path, metadata).columns
    time = datetime.fromtimestamp(int(columns["time"][-1]), UTC)
    assert time.strftime("%d %H:%M") == f"31 {clock}"
    assert columns["codes"][-1, 5] == bucket  # since the last record


def test_now_without_a_zone_is_by_the_clock_of_the_machine(own, metadata):
    before = datetime.now().replace(microsecond=0)
    time = int(read_upcoming(own, metadata).columns["time"][-1])
    assert before <= datetime.fromtimestamp(time, UTC).replace(tzinfo=None)
    assert datetime.fromtimestamp(time, UTC).replace(tzinfo=None) <= datetime.now()


def test_a_time_may_be_a_datetime_or_a_number(own, metadata, tmp_path):
    def hour(path, at):
        return read_upcoming(path, metadata, at).columns["codes"][-1, 1]

    assert hour(own, datetime(2024, 5, 31, 18, 5)) == 18
    zoned = write(tmp_path / "zoned.csv", "zoe,2024-05-31T12:00:00+02:00,a,,,")
    there = timezone(timedelta(hours=9))
    assert hour(zoned, datetime(2024, 5, 31, 20, 5, tzinfo=there)) == 20
    numbers = write(tmp_path / "numbers.csv", "zoe,1717156800,a,,,")
    assert hour(numbers, 1717156800 + 3_600) == 13


@pytest.mark.parametrize(
    ("at", "context", "message"),
    [
        (
            "2024-05-31T12:03",
            {},
            r"2024-05-31T12:03 is before the log's last record, of "
            r"2024-05-31T12:04:00; expected a later",
        ),
        ("noon", {}, "time 'noon' cannot be read; expected ISO 8601"),
        (
            "2024-06-01T00:00Z",
            {},
            "is written with a time zone, those of the log without a time zone",
        ),
        (1717156800, {}, "is written as numbers, those of the log without a time zone"),
        (None, {"bat": 1}, r"unknown context 'bat'; the run has 'battery', 'net' \(ev"),
        (None, {"kind": "work"}, "unknown context 'kind'"),
        (None, {"battery": "high"}, "context battery=high: expected a number"),
        (None, {"battery": "nan"}, "context battery=nan: expected a number"),
        (
            None,
            {"net": "wify"},
            "net=wify: the data of the run have no such value, but 'cable', 'lte', "
            "'wifi'; is it 'wifi'",
        ),
    ],
)
def test_times_and_contexts_that_cannot_be(own, metadata, at, context, message):
    with pytest.raises(DataError, match=message) as error:
        read_upcoming(own, metadata, at, context)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER], "no records in the log"),
        ([HEADER.replace("net", "nett")], r"no column 'net' \(is it 'nett'\?\)"),
        (
            [HEADER, OWN[0], *(f"u{i},2024-06-01,a,,," for i in range(1_000))],
            r"own.csv: is of 1,001 users, 'u0', 'u1', 'u10', 'u100', 'u101' and 996 "
            "more; expected one user's own log",
        ),
        (
            [HEADER, OWN[0].replace("80", "full")],
            "column 'battery' has texts, but in the data of the run numbers",
        ),
        (
            [HEADER, OWN[0].replace("wifi", "1")],
            "column 'net' has numbers, but in the data of the run texts",
        ),
    ],
)
def test_logs_that_cannot_be(metadata, tmp_path, lines, message):
    path = write(tmp_path / "own.csv", *lines[1:], header=lines[0])
    with pytest.raises(DataError, match=message) as error:
        read_upcoming(path, metadata, "2024-06-02")
    assert "\n" not in str(error.value)


def test_without_context_columns_there_is_no_context(own):
    metadata = trained_on(own, context=[], event=[])
    assert "context" not in read_upcoming(own, metadata).columns
    with pytest.raises(DataError, match="unknown context 'battery'; the run has none"):
        read_upcoming(own, metadata, context={"battery": 1})


def test_the_run_says_how_its_log_was_read(own):
    metadata = trained_on(own, session_gap_minutes=2)
    assert (metadata["layout"], metadata["session_gap_minutes"]) == ("log", "2")
    assert json.loads(metadata["columns"]) == OPTIONS
    starts = read_upcoming(own, metadata, "2024-05-31T12:05").columns["codes"][:, 4]
    assert starts.tolist() == [0, 255, 0, 255]
