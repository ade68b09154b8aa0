"""LSApp's events become records of use."""

import numpy as np
import pytest

from fedmeta.benchmarks.recommendation.log import read_lsapp
from fedmeta.data.errors import DataError

HEADER = "user_id\tsession_id\ttimestamp\tapp_name\tevent_type"


def write(path, *events):
    rows = [f"{u}\t1\t2018-01-16 {t}\t{app}\t{kind}" for u, t, app, kind in events]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_events_of_one_use_are_one_record(tmp_path):
    path = write(
        tmp_path / "lsapp.tsv",
        (0, "06:01:05", "Mines", "Opened"),
        (0, "06:01:05", "Mines", "Closed"),
        (0, "06:01:05", "Mines", "Opened"),
        (0, "06:02:05", "Mines", "Opened"),  # a minute, not more
        (0, "06:03:06", "Mines", "Opened"),  # more: a record
        (0, "06:05:00", "Mines", "User Interaction"),  # more, but not opened
        (0, "06:05:00", "Gmail", "User Interaction"),  # another app: a record
        (0, "06:10:01", "Gmail", "Opened"),  # a record, and a session: 301 s
        (1, "06:10:01", "Gmail", "Broken"),  # another user: a record
    )
    log = read_lsapp([path])
    table = log.table
    assert list(table) == ["user", "time", "service", "gap", "event_type"]
    assert table["user"].tolist() == ["0", "0", "0", "0", "1"]
    assert table["service"].tolist() == ["Mines", "Mines", "Gmail", "Gmail", "Gmail"]
    seconds = (table["time"] % 86_400 - 6 * 3_600).tolist()
    assert seconds == [65, 186, 300, 601, 601]
    # since the last event before, not since the record before began
    np.testing.assert_array_equal(table["gap"], [np.nan, 61, 0, 301, np.nan])
    assert table["event_type"].tolist() == [
        *("Opened", "Opened", "User Interaction", "Opened", "Broken")
    ]
    # an interaction ended the record that began at 06:03:06
    assert (log.ends.clock % 86_400 - 6 * 3_600).tolist() == [601, 601]
    assert log.notes == ["9 events are 5 records of use"]
    assert not log.synthetic


def test_events_out_of_order_are_sorted_first(tmp_path):
    path = write(
        tmp_path / "lsapp.tsv",
        (0, "06:03:00", "Gmail", "Opened"),
        (0, "06:01:00", "Mines", "Opened"),
        (0, "06:01:30", "Mines", "Closed"),
    )
    log = read_lsapp([path])
    assert log.table["service"].tolist() == ["Mines", "Gmail"]
    assert log.table["gap"].tolist()[1] == 90
    assert log.notes[0] == "1 records were out of order and were sorted"


def test_what_is_not_lsapps(tmp_path):
    path = tmp_path / "lsapp.tsv"
    path.write_text("user_id\ttimestamp\tapp\tevent_type\n0\t2018-01-16\ta\tOpened\n")
    with pytest.raises(DataError, match=r"no column 'app_name' \(is it 'app'\?\)"):
        read_lsapp([path])
