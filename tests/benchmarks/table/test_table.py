"""One's own table: what is read, what a model sees of it, what is refused."""

import json
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedmeta.benchmarks.table import clients as by_client
from fedmeta.benchmarks.table.features import codebook, encoding
from fedmeta.benchmarks.table.parse import find_raw, parse
from fedmeta.benchmarks.table.rows import FORM
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed

NAMES = {"client": "user", "label": "y"}
ROWS = pd.DataFrame(
    {
        "user": ["ann", "bob", "ann", "bob", "cid", "ann"],
        "at": [3, 1, 2, 2, 1, 1],
        "height": [1.5, 2.0, np.nan, 4.0, 5.0, 6.0],
        "town": ["Ulm", None, "Bonn", "Ulm", "Rome", "Ulm"],
        "y": ["no", "yes", "yes", "no", "no", "yes"],
    }
)


def packed(tmp_path, files, **options):
    """Records of some files."""
    clients, metadata = parse(files, **{**NAMES, **options})
    write_packed(tmp_path / "records.arrow", clients, metadata)
    return read_packed(tmp_path / "records.arrow")


def written(tmp_path, *tables, suffix=".csv"):
    """The parts of a table as files of a folder."""
    folder = tmp_path / "table"
    folder.mkdir(exist_ok=True)
    for number, table in enumerate(tables):
        path = folder / f"part-{number}{suffix}"
        if suffix == ".csv":
            table.to_csv(path, index=False)
        elif suffix == ".parquet":
            table.to_parquet(path, index=False)
        else:
            made = pa.Table.from_pandas(table, preserve_index=False)
            for file in (path, folder / "cache-0.arrow"):
                with pa.ipc.new_stream(file, made.schema) as stream:
                    stream.write_table(made)
    return find_raw(folder)


def content(records, client):
    return {name: column.tolist() for name, column in records.columns(client).items()}


@pytest.mark.parametrize(
    "times",
    [
        pa.array(range(2**63 - 6, 2**63)),  # int64: nanoseconds, snowflake ids
        pa.array(range(2**64 - 6, 2**64), pa.uint64()),
        pa.array([0, 1, 2, 3, 4, 253_402_214_400], pa.timestamp("s")),  # 9999-12-31
        pa.array(["2024-05-31"] * 5 + ["9999-12-31"]),
    ],
)
def test_times_may_be_larger_than_floats_are_exact(tmp_path, times):
    """They are rounded; records at the same rounded time stay as they come."""
    path = tmp_path / "times.parquet"
    parquet.write_table(pa.Table.from_pandas(ROWS).append_column("t", times), path)
    records = packed(tmp_path, [path], time="t", features=["at"])
    assert content(records, "ann")["numbers"] == [[3.0], [2.0], [1.0]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
@pytest.mark.parametrize("buckets", [1, 2])
def test_rows_of_a_client_may_be_scattered(tmp_path, monkeypatch, suffix, buckets):
    """Whatever the format, and however many files the sorting needs."""
    files = written(tmp_path, ROWS[:3], ROWS[3:], suffix=suffix)
    if buckets > 1:
        monkeypatch.setattr(by_client, "BUCKET", 24)
    records = packed(tmp_path, files, leave_out=["at"])
    assert list(records.client_ids) == ["ann", "bob", "cid"]
    known = json.loads(records.metadata["categories"])
    assert known == {"town": ["Bonn", "Rome", "Ulm"]}
    assert json.loads(records.metadata["classes"]) == ["no", "yes"]
    ann = content(records, "ann")
    assert ann["label"] == [0, 1, 1]
    assert ann["categories"] == [[2], [0], [2]]
    np.testing.assert_array_equal(np.ravel(ann["numbers"]), [1.5, np.nan, 6])
    assert content(records, "bob")["categories"] == [[-1], [2]]
    assert not records.ordered


def test_records_are_in_order_of_the_time(tmp_path):
    times = pd.to_datetime(ROWS["at"], unit="D")
    for at in (ROWS["at"], times, times.dt.strftime("%Y-%m-%dT%H:%M:%S+02:00")):
        table = ROWS.assign(at=at)
        for suffix in (".csv", ".parquet"):
            files = written(tmp_path, table[:3], table[3:], suffix=suffix)
            records = packed(tmp_path, files[:2], time="at")
            assert records.ordered
            assert content(records, "ann")["label"] == [1, 1, 0]
            for file in files:
                file.unlink()


def test_the_same_table_in_other_parts_is_the_same(tmp_path):
    one = packed(tmp_path, written(tmp_path, ROWS)).checksum
    rows = ROWS.sort_values("user", kind="stable")
    files = written(tmp_path, rows[:1], rows[1:5], rows[5:])
    assert packed(tmp_path, files).checksum == one


def test_a_column_without_values_says_nothing(tmp_path):
    for suffix in (".csv", ".parquet"):
        files = written(tmp_path, table_of(town=None), suffix=suffix)
        records = packed(tmp_path, files, features=["town"])
        files[0].unlink()
        clients = pd.DataFrame({"client_id": ["ann"], "start": 0, "stop": 3})
        seen = encoding(codebook(records, clients))
        x, _ = seen.examples(records.columns("bob"), np.arange(2))
        assert x.tolist() == [[0, 1], [0, 1]]


def test_a_category_without_values_has_rows_to_show(tmp_path):
    """Those of the example, which is part of the run's model in MLflow."""
    files = written(tmp_path, ROWS.assign(town=""), suffix=".parquet")
    metadata = packed(tmp_path, files).metadata
    records = FORM.read(FORM.example(metadata), None, metadata)
    assert records.columns["categories"].tolist() == [[-1]] * 3
    assert records.notes == []


def test_categories_that_differ_in_spelling_alone_are_noted(tmp_path, caplog):
    """As where one part has 89073.0, since a value is missing there, and others not."""
    zips = [ROWS.assign(zip=89073), ROWS.assign(zip=[89073.0] * 5 + [None])]
    packed(tmp_path, written(tmp_path, *zips), categorical=["zip"])
    assert "2 values of 'zip' differ from another in case, spaces or" in caplog.text


def test_one_class_alone_is_refused(tmp_path):
    """Not when it is packed: a node of a federation may have one."""
    records = packed(tmp_path, written(tmp_path, table_of(y="no")))
    clients = pd.DataFrame({"client_id": ["ann"], "start": 0, "stop": 3})
    with pytest.raises(DataError, match=r"are of one class, 'no'.*raw\.label"):
        codebook(records, clients)


def test_numbers_that_are_names_are_categories(tmp_path):
    files = written(tmp_path, ROWS, suffix=".parquet")
    records = packed(tmp_path, files, categorical=["at"], features=["at"])
    assert json.loads(records.metadata["categories"]) == {"at": ["1", "2", "3"]}
    assert json.loads(records.metadata["numbers"]) == []


def test_what_a_model_sees_is_decided_by_training_clients(tmp_path):
    files = written(tmp_path, ROWS)
    records = packed(tmp_path, files, features=["height", "town"])
    size = dict(zip(records.client_ids, records.num_examples.tolist(), strict=True))

    def of(*names):
        return pd.DataFrame(
            {"client_id": names, "start": 0, "stop": [size[name] for name in names]}
        )

    made = codebook(records, of("ann", "bob"), values=2)
    # 1.5, 2, 4 and 6 are known: mean 3.375; one of them is missing
    heights = np.array([1.5, 6, 2, 4])
    seen = encoding(made)
    assert seen.sizes == {"features": 1 + 1 + 2, "classes": 2}
    x, y = seen.examples(records.columns("ann"), np.arange(3))
    expected = (np.array([1.5, np.nan, 6]) - heights.mean()) / heights.std()
    # of the towns Ulm and Bonn are told apart: the missing one is as rare as Bonn
    assert x.numpy() == pytest.approx(
        np.stack([np.nan_to_num(expected), [0, 1, 0], [1, 0, 1], [0, 1, 0]], 1),
        abs=1e-6,
    )
    assert y.tolist() == [0, 1, 1]
    # Rome is no training client's; a height of cid's alone changes nothing
    x, _ = seen.examples(records.columns("cid"), np.arange(1))
    assert x[0, 1:].tolist() == [0, 0, 0]
    whole = codebook(records, of("ann", "bob", "cid"), values=2)
    assert whole.tables["mean"] != made.tables["mean"]
    assert "standardised numbers (1); which of these are missing (1)" in made.note
    assert "(town 2 of 3)" in made.note


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_whole_numbers_may_be_written_as_floats(tmp_path, suffix):
    """As pandas writes them where some are missing: one name in all formats."""
    floats = table_of(user=[1.0, 2, 1, 2, 3, 1], y=[0.0, 1, 1, 0, 0, 1])
    records = packed(tmp_path, written(tmp_path, floats, suffix=suffix))
    assert list(records.client_ids) == ["1", "2", "3"]
    assert json.loads(records.metadata["classes"]) == ["0", "1"]
    assert content(records, "1")["label"] == [0, 1, 1]


def test_hugging_faces_part_is_called_by_its_folder(tmp_path):
    """Its own name is always the same."""
    for suffix, called in ((".arrow", "table"), (".csv", "part-0.csv")):
        files = written(tmp_path, ROWS, suffix=suffix)
        assert parse(files, **NAMES)[1]["name"] == called
        files[0].unlink()
        (tmp_path / "table" / "cache-0.arrow").unlink(missing_ok=True)


def test_dates_may_be_categories(tmp_path):
    files = written(tmp_path, table_of(town=["2024-05-31"] * 6))
    records = packed(tmp_path, files, categorical=["town"])
    assert json.loads(records.metadata["categories"]) == {"town": ["2024-05-31"]}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_index_is_no_feature(tmp_path, suffix, caplog):
    """What pandas writes beside the columns unless it is told not to."""
    path = tmp_path / f"own{suffix}"
    table = ROWS.set_index(np.array([3, 1, 4, 0, 5, 9]))
    table.to_csv(path) if suffix == ".csv" else table.to_parquet(path)
    records = packed(tmp_path, [path])
    assert json.loads(records.metadata["numbers"]) == ["at", "height"]
    assert "is left out: what has no name is an index" in caplog.text


def table_of(**columns):
    return ROWS.assign(**columns)


TIMES = ["2024-01-01T00:00:00"] * 5 + ["2024-01-01T00:00:00Z"]
LATE = ROWS.assign(y=["no"] * 5 + [None])
MANY = pd.concat([ROWS] * 300).assign(y=range(1800))


@pytest.mark.parametrize(
    ("tables", "options", "told"),
    [
        ([ROWS], {"client": "usr"}, "part-0.csv: no column 'usr' .is it 'user'"),
        ([ROWS, ROWS.drop(columns="town")], {}, "part-1.csv: no column 'town'"),
        ([ROWS], {"label": "user"}, "column 'user' is asked for twice"),
        ([ROWS], {"features": []}, "no feature is left"),
        ([ROWS], {"leave_out": ["twon"]}, "no column 'twon' .is it 'town'"),
        ([ROWS, LATE], {}, "part-1.csv: row 6 has no label in column 'y'"),
        ([table_of(user=None)], {}, "part-0.csv: row 1 has no client in column 'user'"),
        ([table_of(at=None)], {"time": "at"}, "row 1 has no time in column 'at'"),
        ([table_of(at=TIMES)], {"time": "at"}, "with and without a zone"),
        ([MANY], {}, "'y' has more than 1,000 different values"),
        (
            [ROWS, table_of(height=["tall"] * 6)],
            {},
            "part-1.csv: column 'height' has texts, but in part-0.csv numbers",
        ),
        (
            [table_of(at=[1, 2, 3, 4, 5, "six"])],
            {},
            "'at' has 'six' among numbers .1 of 6 are none.",
        ),
        ([ROWS[:0]], {}, "part-0.csv: no rows"),
        (
            [table_of(user=[0.5, 1, 0.5, 1, 2, 2])],
            {},
            "part-0.csv: column 'user' has the client '0.5'; expected names or whole",
        ),
        (
            [table_of(town=["2024-05-31"] * 5 + ["2024-06-01T10:00"])],
            {},
            "part-0.csv: column 'town' has dates such as '2024-05-31'; .*raw.time",
        ),
        ([table_of(town=["31.05.24"] * 6)], {}, "'town' has dates .* raw.categorical"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_refused(tmp_path, tables, options, told, suffix):
    if suffix == ".parquet" and "six" in told:
        pytest.skip("such a column cannot be written")
    files = written(tmp_path, *tables, suffix=suffix)
    told = told.replace(".csv", suffix)
    with pytest.raises(DataError, match=told) as error:
        list(parse(files, **{**NAMES, **options})[0])
    assert ";" in str(error.value)  # then a remedy
    assert "\n" not in str(error.value)


def test_a_column_of_another_type_is_refused(tmp_path):
    files = written(tmp_path, table_of(at=pd.Timestamp(0)), suffix=".parquet")
    with pytest.raises(DataError, match=r"'at' has times; expected numbers or texts"):
        parse(files, **NAMES)
    parse(files, **NAMES, time="at")


def test_damaged_and_missing_files_are_refused(tmp_path):
    (whole,) = written(tmp_path, ROWS, suffix=".parquet")
    for name, data in (("cut.parquet", whole.read_bytes()[:-9]), ("no.csv", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}: (cannot be read|.*empty)"):
            parse([tmp_path / name], **NAMES)
    (tmp_path / "broken.csv").write_text("user,y,a\nann,no,1\nbob,yes,1,2\n")
    with pytest.raises(DataError, match="broken.csv: cannot be read as csv .*columns"):
        parse([tmp_path / "broken.csv"], **NAMES)
    assert find_raw(whole) == [whole]
    with pytest.raises(DataError, match="gone: no file or folder with"):
        find_raw(tmp_path / "gone")
    with pytest.raises(DataError, match="but in table/: name the folder"):
        (tmp_path / "cut.parquet").unlink()
        for rest in tmp_path.glob("*.csv"):
            rest.unlink()
        find_raw(tmp_path)
    (whole.parent / "part.csv").write_text("user,y\n")
    with pytest.raises(DataError, match="has both part.csv and part-0.parquet"):
        find_raw(whole.parent)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("name", ["user", "y", "town"])
@pytest.mark.parametrize("encode", [False, True])
def test_texts_that_are_not_utf8_are_refused(tmp_path, suffix, name, encode):
    """Arrow reads what another program has written so without a word."""
    offsets = np.arange(len(ROWS) + 1, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff" * len(ROWS))]
    texts = pa.Array.from_buffers(pa.string(), len(ROWS), buffers)
    if encode:
        numbers = pa.array(range(len(ROWS)))
        texts = pa.DictionaryArray.from_arrays(numbers, texts)
    table = pa.table({**ROWS, name: texts})
    path = tmp_path / f"odd{suffix}"
    if suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    with pytest.raises(DataError, match=r"odd.*: cannot be read as .*UTF8.*; "):
        list(parse([path], **NAMES)[0])


def test_memory_is_that_of_a_bucket(tmp_path, monkeypatch):
    """24 MB of numbers in random order, sorted by 1 MB; batches are smaller too."""
    monkeypatch.setattr(by_client, "BUCKET", 1 << 20)
    rng = np.random.default_rng(0)
    columns = {f"x{n}": rng.normal(size=200_000).astype(np.float32) for n in range(30)}
    columns |= {"user": rng.integers(0, 1000, 200_000), "y": columns["x0"] > 0}
    path = tmp_path / "large.parquet"
    parquet.write_table(pa.table(columns), path, row_group_size=10_000)
    del columns
    tracemalloc.start()
    clients, _ = parse([path], **NAMES)
    assert sum(len(client.columns["label"]) for client in clients) == 200_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20  # a batch and a bucket of arrays, twice
