"""From files to packed clients."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedmeta.benchmarks.recommendation.log import LogColumns, read_log
from fedmeta.benchmarks.recommendation.parse import find_raw, pack_log, parse
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed

NAMES = {"user": "who", "time": "when", "service": "what"}


@pytest.fixture
def visits(tmp_path):
    """Zoe's four records, of which two are the same, and Ann's one."""
    rows = [
        "who,when,what,battery,net,kind",
        "zoe,2024-05-31T12:00,mail,80,wifi,work",
        "zoe,2024-05-31T12:01,maps,,lte,",
        "zoe,2024-05-31T12:01,maps,,lte,",
        "zoe,2024-05-31T13:00,mail,70,,play",
        "ann,2024-05-31T12:00,maps,60,lte,work",
    ]
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(rows))
    return path


def read(path, **options):
    clients, metadata = parse([path], **{**NAMES, **options})
    return {c.client_id: c.columns for c in clients}, metadata


def test_records_of_a_log(visits, tmp_path):
    options = {**NAMES, "context": ["battery", "net"], "event": ["kind"]}
    clients, metadata = parse([visits], **options)
    write_packed(tmp_path / "packed.arrow", clients, metadata)
    dataset = read_packed(tmp_path / "packed.arrow")
    assert dataset.client_ids == ["ann", "zoe"]
    zoe = dataset.columns("zoe")
    assert {name: (str(c.dtype), c.shape) for name, c in zoe.items()} == {
        "time": ("int64", (3,)),
        "service": ("int32", (3,)),
        "number": ("int32", (3,)),
        "time_codes": ("uint8", (3, 7)),
        "context": ("float32", (3, 3)),
    }
    assert (zoe["time"] - zoe["time"][0]).tolist() == [0, 60, 3_600]
    assert zoe["service"].tolist() == [0, 1, 0]
    assert zoe["number"].tolist() == [0, 1, 0]
    assert dataset.columns("ann")["number"].tolist() == [0]
    nan = np.nan  # the kind is that of the record before
    np.testing.assert_array_equal(
        zoe["context"], [[80, 1, nan], [nan, 0, 1], [70, nan, nan]]
    )
    np.testing.assert_array_equal(dataset.columns("ann")["context"], [[60, 0, nan]])
    assert {name: json.loads(metadata[name]) for name in ("services", "notes")} == {
        "services": ["mail", "maps"],
        "notes": [
            "1 duplicate records were dropped",
            "1 of 2 users have a single record",
        ],
    }
    assert json.loads(metadata["context"]) == [
        {"name": "battery", "kind": "numeric", "values": []},
        {"name": "net", "kind": "categorical", "values": ["lte", "wifi"]},
        {"name": "previous kind", "kind": "categorical", "values": ["play", "work"]},
    ]
    assert metadata["slots"] == "40"
    assert dataset.stands_in


def test_without_context_there_is_no_such_column(visits):
    clients, metadata = read(visits)
    assert list(clients["zoe"]) == ["time", "service", "number", "time_codes"]
    assert metadata["context"] == "[]"


def test_services_beyond_the_slots_are_counted(visits):
    clients, metadata = read(visits, slots=1)
    assert clients["zoe"]["number"].tolist() == [0, 1, 0]
    assert json.loads(metadata["notes"])[-1] == (
        "1 of 2 users have more than 1 services"
    )


def test_the_gap_of_sessions_is_in_minutes(visits):
    users = {gap: read(visits, session_gap_minutes=gap)[0] for gap in (0.5, 5, 60)}
    starts = {
        gap: user["zoe"]["time_codes"][:, 3].tolist() for gap, user in users.items()
    }
    assert starts == {0.5: [0, 0, 0], 5: [0, 255, 0], 60: [0, 255, 255]}


@pytest.mark.parametrize(
    ("name", "expected"), [(None, "visits.csv"), ("place visits", "place visits")]
)
def test_real_data_go_by_their_own_name(visits, name, expected):
    metadata = read(visits, name=name)[1]
    assert metadata["benchmark"] == "recommendation"
    assert metadata["synthetic"] == "false"
    assert (metadata["name"], metadata["source"]) == (expected, "visits.csv")


def test_generated_data_have_no_other_name(tmp_path):
    table = pa.table({"who": ["a"], "when": [10**9], "what": ["x"]})
    marked = table.replace_schema_metadata({"fedmeta.synthetic": "true"})
    parquet.write_table(marked, tmp_path / "a.parquet")
    metadata = read(tmp_path / "a.parquet")[1]
    assert metadata["synthetic"] == "true"
    assert "name" not in metadata
    with pytest.raises(DataError, match=r"a\.parquet: is synthetic and cannot be call"):
        read(tmp_path / "a.parquet", name="LSApp")


def test_lsapp_has_columns_of_its_own(tmp_path):
    path = tmp_path / "lsapp.tsv"
    path.write_text(
        "user_id\tsession_id\ttimestamp\tapp_name\tevent_type\n"
        "0\t1\t2018-01-16 06:01:05\tMines\tOpened\n"
        "0\t1\t2018-01-16 06:01:07\tMines\tClosed\n"
        "0\t1\t2018-01-16 06:01:09\tGmail\tOpened\n"
    )
    clients, metadata = read(path, layout="lsapp", context=["battery"])
    assert clients["0"]["number"].tolist() == [0, 1]
    np.testing.assert_array_equal(clients["0"]["context"], [[np.nan], [1]])
    assert metadata["name"] == "LSApp"
    (described,) = json.loads(metadata["context"])
    assert described["name"] == "previous event_type"
    assert described["values"] == ["Closed", "Opened"]


def test_a_record_still_to_come_is_packed_as_well(visits):
    columns = LogColumns(*NAMES.values(), context=("battery",), event=("kind",))
    log = read_log([visits], columns)
    rows = log.table["user"] == "zoe"
    zoe = log.table[rows].assign(
        user=log.table["user"][rows].cat.remove_categories("ann")
    )
    zoe.loc[zoe.index[-1], "service"] = np.nan
    options = {"slots": 40, "session_gap_minutes": 5}
    clients, _ = pack_log(log._replace(table=zoe), columns, **options)
    (client,) = clients
    assert client.columns["service"].tolist() == [0, 1, -1]
    assert client.columns["number"].tolist() == [0, 1, -1]
    _, whole = list(pack_log(log, columns, **options)[0])
    times = (zoe.columns["time_codes"] for zoe in (client, whole))
    np.testing.assert_array_equal(*times)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "carat"}, "unknown layout 'carat'; one of log, lsapp"),
        ({"slots": 0}, "slots 0: expected 1 to 254"),
        ({"slots": 255}, "slots 255"),
        ({"session_gap_minutes": 0}, "session_gap_minutes 0: expected more than 0"),
    ],
)
def test_options_out_of_range(visits, options, message):
    with pytest.raises(DataError, match=message):
        read(visits, **options)


def test_a_folder_has_one_kind_of_file(tmp_path):
    (tmp_path / "lsapp.tsv.gz").touch()
    with pytest.raises(DataError, match=r"none of \*\.csv, \*\.tsv, \*\.parquet here"):
        find_raw(tmp_path)
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in find_raw(tmp_path)] == ["a.csv", "b.csv"]
    (tmp_path / "c.parquet").touch()
    with pytest.raises(DataError, match=r"both a\.csv and c\.parquet"):
        find_raw(tmp_path)


@pytest.mark.parametrize("junk", ["._log.csv", "~$log.csv", "._log.tsv"])
def test_what_systems_and_editors_leave_is_passed_over(tmp_path, junk):
    (tmp_path / "log.csv").write_text("")
    (tmp_path / junk).write_bytes(b"\0\5\x16\7")
    assert find_raw(tmp_path) == [tmp_path / "log.csv"]
