"""Usage logs as files: what is read, put right or refused, and how it says so."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedmeta.benchmarks.recommendation.log import LogColumns, read_log
from fedmeta.data.errors import DataError

COLUMNS = LogColumns("who", "when", "what")
FULL = LogColumns("who", "when", "what", context=("battery", "net"), event=("kind",))


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def day(hour, minute=0):
    """Seconds since 1970 on the second of January 1970, plus a whole year."""
    return (366 * 24 + hour) * 3600 + 60 * minute


def records(log):
    table = log.table
    return list(zip(table["user"], table["time"], table["service"], strict=True))


def test_columns_are_found_by_name_and_users_are_sorted(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "what,unused,when,battery,net,kind,who",
        "mail,x,1971-01-02T10:00:00,80,wifi,work,zoe",
        "maps,x,1971-01-02 10:05,,,,zoe",
        "mail,x,1971-01-02T09:00:30,79.5,lte,work,ann",
    )
    log = read_log([path], FULL)
    assert list(log.table) == [
        *("user", "time", "service", "gap"),
        *("battery", "net", "kind"),
    ]
    assert records(log) == [
        ("ann", day(9) + 30, "mail"),
        ("zoe", day(10), "mail"),
        ("zoe", day(10, 5), "maps"),
    ]
    np.testing.assert_array_equal(log.table["gap"], [np.nan, np.nan, 300])
    np.testing.assert_array_equal(log.table["battery"], [79.5, 80, np.nan])
    assert log.table["net"].tolist()[:2] == ["lte", "wifi"]
    assert log.table["net"].cat.codes.tolist() == [0, 1, -1]
    assert log.table["kind"].cat.categories.tolist() == ["work"]
    kinds = log.table.dtypes
    assert [str(kind) for kind in kinds[["time", "gap", "battery"]]] == [
        *("int64", "float64", "float32")
    ]
    assert (kinds[["user", "service", "net", "kind"]] == "category").all()
    assert (log.notes, log.synthetic) == ([], False)


def test_parquet_csv_and_tsv_are_the_same_log(tmp_path):
    frame = pd.DataFrame(
        {
            "who": ["b", "b", "a"],
            "when": pd.to_datetime(["1971-01-02 10:00", "1971-01-02 11:00"] * 2)[:3],
            "what": ["x", "y", "x"],
            "battery": [1, 2, 3],
            "net": pd.Categorical(["lte", None, "wifi"]),
            "kind": [True, False, True],
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    logs = [read_log([tmp_path / f"a.{s}"], FULL) for s in ("csv", "tsv", "parquet")]
    for log in logs[1:]:
        pd.testing.assert_frame_equal(log.table, logs[0].table)
    assert logs[0].table["kind"].tolist() == ["true", "true", "false"]


def test_users_and_services_may_be_numbers(tmp_path):
    numbers = {"who": [10, 9], "when": [1e9, 1e9], "what": [7, 7]}
    frame = pd.DataFrame(numbers).astype("int64")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.parquet", "a.csv"):
        log = read_log([tmp_path / name], COLUMNS)
        assert records(log) == [("10", 10**9, "7"), ("9", 10**9, "7")]


def test_what_is_missing_is_no_name(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "who,when,what",
        "NA,1971-01-02,null",  # a user and a service of these names
        ",1971-01-02,mail",
        "ann,1971-01-02,",
    )
    log = read_log([path], COLUMNS)
    assert records(log) == [("NA", day(0), "null")]
    assert log.notes == ["2 records without user or service are left out"]
    assert log.table["service"].cat.categories.tolist() == ["null"]
    table = pa.table({"who": ["a", None], "when": [10**9] * 2, "what": ["x", "y"]})
    parquet.write_table(table, tmp_path / "b.parquet")
    assert len(read_log([tmp_path / "b.parquet"], COLUMNS).table) == 1


def test_files_make_one_log_and_records_are_sorted(tmp_path):
    first = write(
        tmp_path / "a.csv",
        "who,when,what,net",
        "ann,1971-01-02T12:00,c,",
        "bob,1971-01-02T08:00,a,",
        "ann,1971-01-02T11:00,b,",  # late
    )
    second = write(
        tmp_path / "b.csv", "when,net,what,who", "1971-01-02T10:00,lte,a,ann"
    )  # late
    log = read_log([first, second], COLUMNS._replace(context=("net",)))
    assert records(log) == [
        ("ann", day(10), "a"),
        ("ann", day(11), "b"),
        ("ann", day(12), "c"),
        ("bob", day(8), "a"),
    ]
    assert log.notes == ["2 records were out of order and were sorted"]
    np.testing.assert_array_equal(log.table["gap"], [np.nan, 3600, 3600, np.nan])
    assert log.table["net"].cat.codes.tolist() == [0, -1, -1, -1]


def test_records_of_one_instant_stay_in_the_order_of_the_file(tmp_path):
    lines = [f"ann,1971-01-02T10:00:00,{service}" for service in "cab"]
    late = "ann,1971-01-02T09:00:00,z"
    log = read_log([write(tmp_path / "a.csv", HEADER, *lines, late)], COLUMNS)
    assert [service for _, _, service in records(log)] == ["z", "c", "a", "b"]


def test_only_what_agrees_in_all_columns_is_a_duplicate(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "who,when,what,battery",
        "ann,1971-01-02T10:00:00,mail,",
        "ann,1971-01-02T10:00:00,maps,5",
        "ann,1971-01-02T10:00:00,mail,",  # again, and not a neighbour
        "ann,1971-01-02T10:00:00,mail,5",
        "ann,1971-01-02T10:00:00.5,mail,5",
        "bob,1971-01-02T10:00:00.5,mail,5",
    )
    log = read_log([path, path], COLUMNS._replace(context=("battery",)))
    assert len(log.table) == 5
    assert "7 duplicate records were dropped" in log.notes
    np.testing.assert_array_equal(log.table["gap"][1:4], [0, 0, 0.5])
    assert len(read_log([path], COLUMNS).table) == 4  # battery is not asked for


@pytest.mark.parametrize("user", ["synthetic-1", "ann"])
def test_generated_users_say_so(tmp_path, user):
    lines = [f"{user},1971-01-02,mail", "synthetic-2,1971-01-02,mail"]
    path = write(tmp_path / "a.csv", "who,when,what", *lines)
    assert read_log([path], COLUMNS).synthetic == (user != "ann")


def test_generated_parquet_says_so_in_its_schema(tmp_path):
    table = pa.table({"who": ["ann"], "when": [10**9], "what": ["x"]})
    parquet.write_table(table, tmp_path / "real.parquet")
    marked = table.replace_schema_metadata({"fedmeta.synthetic": "true"})
    parquet.write_table(marked, tmp_path / "drawn.parquet")
    paths = [tmp_path / "real.parquet", tmp_path / "drawn.parquet"]
    assert [read_log([path], COLUMNS).synthetic for path in paths] == [False, True]
    with pytest.raises(DataError, match=r"drawn\.parquet: synthetic and real records"):
        read_log(paths, COLUMNS)


HEADER = "who,when,what"
ROW = "ann,1971-01-02T10:00:00,mail"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty; expected a line of column names"),
        ([HEADER], "no records in the log"),
        (
            ["who,whem,what,x", ROW + ",1"],
            r"no column 'when' \(is it 'whem'\?\); there are 'who', 'whem', 'what', 'x'"
            ": rename it there, or name the file's own",
        ),
        (["a,b,c", ROW], r"no column 'when'; there are 'a', 'b', 'c'"),
        (["who;when;what", "a;b;c"], r"separated by ';'; expected ',' in \*\.csv"),
        (["who,when,what,who", ROW + ",x"], "column 'who' is there twice"),
        ([HEADER, ROW, "ann,1971-01-02"], r"read as csv \(.*Row #3: Expected 3.* 2"),
        ([HEADER, ",1971-01-02,mail", "ann,1971-01-02,"], "no record has both a user"),
        ([HEADER, 'ann,1971-01-02,"mail', ROW], "'what' has a text with a line break"),
    ],
)
def test_what_is_no_log(tmp_path, lines, message):
    path = write(tmp_path / "a.csv", *lines)
    if not lines:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=message) as caught:
        read_log([path], COLUMNS)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["caf\xe9,when\n", HEADER + "\n" + ROW + "\xe9\n"])
def test_other_encodings_than_utf8(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match="UTF"):
        read_log([path], COLUMNS)
    path.write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8-sig")
    assert len(read_log([path], COLUMNS).table) == 1


def test_a_file_that_is_cut_short_or_none_at_all(tmp_path):
    frame = pd.DataFrame({"who": ["a"], "when": [10**9], "what": ["x"]})
    path = tmp_path / "a.parquet"
    frame.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as parquet .*aga"):
        read_log([path], COLUMNS)
    with pytest.raises(DataError, match=r"b\.csv: cannot be read .*No such file"):
        read_log([tmp_path / "b.csv"], COLUMNS)
    with pytest.raises(DataError, match=r"expected one of \.csv, \.tsv, \.parquet"):
        read_log([tmp_path / "lsapp.tsv.gz"], COLUMNS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"who": [1.5]}, "column 'who' is of type double; expected users"),
        ({"what": [True]}, "column 'what' is of type bool"),
        (
            {"net": [pd.Timestamp(0)]},
            r"column 'net' is of type timestamp\[.*\]; exp",
        ),
    ],
)
def test_columns_of_other_types(tmp_path, values, message):
    columns = {"who": ["a"], "when": [10**9], "what": ["x"], "net": [1]} | values
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        read_log([tmp_path / "a.parquet"], COLUMNS._replace(context=("net",)))


@pytest.mark.parametrize("odd", ["unknown", "None", "80%", "0,80", "-"])
def test_an_odd_text_makes_no_category_of_numbers(tmp_path, odd):
    lines = [f'{ROW},"{value}"' for value in [*range(5), odd, *range(6, 11), ""]]
    path = write(tmp_path / "a.csv", HEADER + ",battery", *lines)
    log = read_log([path], COLUMNS._replace(context=("battery",)))
    wanted = [*range(5), np.nan, *range(6, 11), np.nan]
    np.testing.assert_array_equal(log.table["battery"], np.float32(wanted)[:-1])
    assert log.notes[0] == (
        f"values of 'battery' that are no numbers count as missing: 1 of 11, the first,"
        f" {odd!r}, in {path}: line 7"
    )


def test_a_column_with_as_many_texts_as_a_tenth_is_of_texts(tmp_path):
    lines = [f"{ROW},{value}" for value in [*range(9), "C1"]]
    path = write(tmp_path / "a.csv", HEADER + ",room", *lines)
    log = read_log([path], COLUMNS._replace(context=("room",)))
    assert len(log.table["room"].cat.categories) == 10
    assert log.notes == []


def test_a_column_that_a_file_calls_text_is_text(tmp_path):
    frame = {"who": "a", "when": 10**9, "what": "x", "room": ["1"] * 20 + ["C1"]}
    pd.DataFrame(frame).to_parquet(tmp_path / "a.parquet")
    log = read_log([tmp_path / "a.parquet"], COLUMNS._replace(context=("room",)))
    assert log.table["room"].cat.categories.tolist() == ["1", "C1"]


def test_one_user_is_one_however_her_number_is_written(tmp_path):
    # pandas writes whole numbers as 7.0 beside a missing one
    when = [10**9, 10**9 + 60]
    ids = {"a": [7, 8], "b": [7.0, np.nan], "c": ["7", "8"]}
    for name, users in ids.items():
        frame = pd.DataFrame({"who": users, "when": when, "what": "x"})
        frame.to_parquet(tmp_path / f"{name}.parquet")
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = [tmp_path / f"{n}.{s}" for n in ids for s in ("csv", "parquet")]
    for path in paths:
        found = set(read_log([path], COLUMNS).table["user"].cat.categories)
        assert found == ({"7"} if path.stem == "b" else {"7", "8"})
    assert len(read_log(paths, COLUMNS).table) == 2


def test_numbers_that_are_not_exact_are_no_users(tmp_path):
    frame = pd.DataFrame({"who": [2.0**60], "when": [10**9], "what": ["x"]})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'who' is of type double; expected"):
        read_log([tmp_path / "a.parquet"], COLUMNS)


def test_names_that_differ_in_spelling_alone_are_noted(tmp_path):
    rows = ["Ann,1971-01-02,mail", "ann,1971-01-02,Mail", "7,1971-01-02,a"]
    log = read_log(
        [write(tmp_path / "a.csv", HEADER, *rows, "7.0,1971-01-02,a")], COLUMNS
    )
    assert len(log.table) == 4
    assert [note.partition(" differ")[0] for note in log.notes] == [
        "4 users",
        "2 services",
    ]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_number_may_be_larger_than_floats_are_exact(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frame = pd.DataFrame({"who": "a", "when": 10**9, "what": "x", "id": [2**62 + 1]})
    getattr(frame, f"to_{suffix}")(path, index=False)
    log = read_log([path], COLUMNS._replace(context=("id",)))
    assert log.table["id"].tolist() == [2.0**62]


@pytest.mark.parametrize("name", ["who", "when", "what", "net"])
def test_texts_that_are_not_utf8_are_refused(tmp_path, name):
    """Arrow reads what another program has written so without a word."""
    buffers = [None, pa.py_buffer(np.arange(2, dtype=np.int32)), pa.py_buffer(b"\xff")]
    odd = {name: pa.Array.from_buffers(pa.string(), 1, buffers)}
    columns = {"who": ["a"], "when": [10**9], "what": ["x"], "net": ["y"]} | odd
    parquet.write_table(pa.table(columns), tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"odd.parquet: cannot be read as .*UTF8.*; "):
        read_log([tmp_path / "odd.parquet"], COLUMNS._replace(context=("net",)))


def test_a_list_of_very_many_columns_is_shortened(tmp_path):
    names = ",".join(f"c{number}" for number in range(10_000))
    path = write(tmp_path / "a.csv", names, names)
    with pytest.raises(DataError, match=r"'c19' and 9,980 more: rename") as caught:
        read_log([path], COLUMNS)
    assert len(str(caught.value)) < 500


def test_free_text_is_no_category(tmp_path, monkeypatch):
    lines = [f"{ROW},{'abc'[i % 3]},{i}" for i in range(9)]
    path = write(tmp_path / "a.csv", HEADER + ",net,number", *lines)
    columns = COLUMNS._replace(context=("net", "number"))
    monkeypatch.setattr("fedmeta.benchmarks.recommendation.values.MAX_VALUES", 3)
    read_log([path], columns)
    monkeypatch.setattr("fedmeta.benchmarks.recommendation.values.MAX_VALUES", 2)
    with pytest.raises(DataError, match="column 'net' has 3 different texts; expected"):
        read_log([path], columns)


def test_files_that_are_not_of_one_log(tmp_path):
    first = write(tmp_path / "a.csv", HEADER + ",net", ROW + ",1")
    text = write(tmp_path / "b.csv", HEADER + ",net", ROW + ",lte")
    number = write(tmp_path / "c.csv", HEADER + ",net", "ann,1000000000,mail,1")
    columns = COLUMNS._replace(context=("net",))
    with pytest.raises(DataError, match=r"b\.csv: column 'net' has texts, but in a"):
        read_log([first, text], columns)
    with pytest.raises(DataError, match=r"c\.csv: times as numbers, but in a"):
        read_log([first, number], columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (LogColumns("who", "when", "who"), "'who' is asked for twice"),
        (
            LogColumns("who", "when", "what", ("net",), ("net",)),
            "'net' is asked for twice",
        ),
        (LogColumns("who", "when", "what", ("user",)), "cannot be called 'user'"),
    ],
)
def test_columns_asked_for_wrongly(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_log([tmp_path / "a.csv"], columns)
