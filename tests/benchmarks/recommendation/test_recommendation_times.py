"""Forms of time, and which are refused."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedmeta.benchmarks.recommendation.log import LogColumns, read_log
from fedmeta.benchmarks.recommendation.times import read_times
from fedmeta.data.errors import DataError

NOON = 1_717_156_800  # 2024-05-31T12:00:00Z


def read(values, kind=None):
    return read_times(pa.chunked_array([pa.array(values, kind)]), "row {}".format)


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-31T12:00:00",
        "2024-05-31 12:00",
        "2024-05-31T12",
        "2024-05-31T12:00:00.9",
        str(NOON),
        f"{NOON}999",
        NOON,
        NOON * 1000 + 999,
        datetime(2024, 5, 31, 12),
        "2024-05-31T12:00:00Z",
        "2024-05-31T12:00:00.25+00:00",
    ],
)
def test_one_time_in_many_forms(value):
    times = read([value])
    assert times.clock.tolist() == [NOON]
    assert times.instant[0] // 10**9 == NOON
    assert times.clock.dtype == times.instant.dtype == np.int64


def test_a_day_is_its_midnight():
    for value in ("2024-05-31", date(2024, 5, 31)):
        assert read([value]).clock.tolist() == [NOON - 12 * 3600]


def test_the_clock_is_that_of_the_zone_and_the_instant_is_not():
    values = ["2024-05-31T14:00:00+02:00", "2024-05-31T08:30:00-0330"]
    times = read([*values, "2024-05-31T12:00:00Z"])
    assert (times.instant // 10**9 - NOON).tolist() == [0, 0, 0]
    assert (times.clock - NOON).tolist() == [2 * 3600, -3.5 * 3600, 0]
    arrow = read([NOON], pa.timestamp("s", "Europe/Berlin"))
    assert (arrow.instant[0] // 10**9, arrow.clock[0]) == (NOON, NOON + 2 * 3600)
    assert times.form == arrow.form


def test_texts_may_be_stored_once_each():
    column = pa.array(["2024-05-31T12:00:00"] * 3).dictionary_encode()
    assert read_times(pa.chunked_array([column]), str).clock.tolist() == [NOON] * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["2024-05-31", "31.05.2024"],
            "row 1: the time '31.05.2024' cannot be read",
        ),
        (["2024-05-31"] * 5 + ["2024-13-01"] * 2, "row 5: the time '2024-13-01'"),
        (["2024-05-31", ""], "row 1: the time ''"),
        (["soon", "2024-05-31"], "row 0: the time 'soon'"),
        (["9999-12-31"], "row 0: the time '9999-12-31' .* of the years 1678 to 2261"),
        (
            ["2024-05-31T12:00Z", "noon"],
            "row 1: the time 'noon' cannot be read; expected ISO 8601",
        ),
        (["2024-05-31T12:00Z", "2024-05-31T12:00+99:99"], "row 1: .* cannot be read"),
        (
            ["2024-05-31T12:00:00", "2024-05-31T12:00:00+02:00"],
            r"row 0: the time '2024-05-31T12:00:00' has no zone, but .*\+02:00' has",
        ),
        ([str(NOON), "2024-05-31"], "row 1: the time '2024-05-31' cannot be read"),
        (["20240531", "20240601"], "row 0: time 20240531 .* expected seconds"),
        ([NOON, NOON * 1000], f"row 1: time {NOON}000 where the first is {NOON}"),
        ([NOON * 1000, NOON], f"row 1: time {NOON} where"),
        ([NOON * 10**6], "row 0: time 1717156800000000 where"),
        ([-5], "row 0: time -5"),
        ([NOON, None], "row 1: no time; expected ISO"),
        ([1.5], "row 0: times are of type double"),
    ],
)
def test_what_is_no_time(values, message):
    with pytest.raises(DataError, match=message):
        read(values)


COLUMNS = LogColumns("u", "t", "s")


@pytest.mark.parametrize(
    ("times", "note"),
    [
        (["1717156800"], "times are numbers since 1970: hours of the day are those of"),
        (["2024-05-31T12:00Z"], "all times are in UTC"),
        (["2024-05-31T12:00+01:00"], None),
        (["2024-05-31T12:00"], None),
        (["2024-05-31T12:00Z", "2024-05-31T12:00+01:00"], "times are in several zones"),
    ],
)
def test_the_report_is_told_whose_hours_they_are(tmp_path, times, note):
    rows = [f"u{i},{time},s" for i, time in enumerate(times)]
    (tmp_path / "a.csv").write_text("\n".join(["u,t,s", *rows]))
    notes = read_log([tmp_path / "a.csv"], COLUMNS).notes
    assert [n[: len(note or "")] for n in notes] == ([note] if note else [])


def test_a_traveller_keeps_the_order_of_instants(tmp_path):
    # off at 12:00 in Berlin, 10:30 in London half an hour and an hour's change later
    rows = ["u,2024-05-31T12:00:00+02:00,a", "u,2024-05-31T11:30:00+01:00,b"]
    (tmp_path / "a.csv").write_text("\n".join(["u,t,s", *rows]))
    table = read_log([tmp_path / "a.csv"], COLUMNS).table
    assert table["service"].tolist() == ["a", "b"]
    assert table["gap"].tolist()[1] == 1800
    assert np.diff(table["time"]).tolist() == [-1800]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["u,t,s", "u,2024-05-31,a", "", "", "u,noon,a"], 5),
        (["", "u,t,s,x", 'u,2024-05-31,a,"b', 'c"', "u,noon,a,"], 5),
        (["u,t,s", "u,noon,a"], 2),
    ],
)
def test_the_line_of_a_csv_is_named(tmp_path, lines, line):
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"a\.csv: line {line}: the time 'noon'"):
        read_log([tmp_path / "a.csv"], COLUMNS)


def test_the_row_of_a_parquet_file_is_named(tmp_path):
    table = pa.table({"u": ["u"] * 2, "t": ["2024-05-31", "noon"], "s": ["a"] * 2})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: row 2: the time 'noon'"):
        read_log([tmp_path / "a.parquet"], COLUMNS)
