"""The packed file: what goes in comes out, whole or not at all."""

import copy
import errno
import os
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta.data import federated, seal
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed

META = {"benchmark": "toy", "synthetic": "true"}


def client(client_id, size, seed=0):
    rng = np.random.default_rng(seed)
    return ClientRecords(
        client_id,
        {
            "pixels": rng.integers(0, 256, (size, 6), dtype=np.uint8),
            "label": rng.integers(0, 62, size, dtype=np.uint8),
            "score": rng.random(size),
        },
    )


def assert_same(dataset, clients):
    assert dataset.client_ids == sorted(c.client_id for c in clients)
    for c in clients:
        columns = dataset.columns(c.client_id)
        assert columns.keys() == c.columns.keys()
        for name, column in c.columns.items():
            np.testing.assert_array_equal(columns[name], column)
            assert columns[name].dtype == column.dtype


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8), batch=st.booleans())
def test_round_trip(tmp_path_factory, sizes, batch):
    path = tmp_path_factory.mktemp("packed") / "data.arrow"
    clients = [client(f"c{9 - i}", n, i) for i, n in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(federated, "BATCH_BYTES", 40 if batch else 1 << 20)
        write_packed(path, iter(clients), META)
    dataset = read_packed(path)
    assert_same(dataset, clients)
    counts = dict(zip(dataset.client_ids, dataset.num_examples, strict=True))
    assert counts == {c.client_id: len(c.columns["label"]) for c in clients}
    assert dataset.metadata == {**META, "checksum": dataset.checksum}


def test_columns_are_read_only_views_of_the_map(tmp_path):
    write_packed(tmp_path / "a.arrow", [client("a", 5)], META)
    before = pa.total_allocated_bytes()
    pixels = read_packed(tmp_path / "a.arrow").columns("a")["pixels"]
    assert not pixels.flags.owndata
    assert not pixels.flags.writeable
    assert pa.total_allocated_bytes() == before


def test_checksum_depends_on_the_records_not_on_their_order(tmp_path):
    clients = [client("a", 3, 1), client("b", 4, 2), client("c", 2, 3)]
    sums = []
    for number, order in enumerate([clients, clients[::-1]]):
        write_packed(tmp_path / f"{number}.arrow", order, META)
        sums.append(read_packed(tmp_path / f"{number}.arrow").checksum)
    clients[1].columns["label"][0] ^= 1
    write_packed(tmp_path / "changed.arrow", clients, META)
    assert sums[0] == sums[1] != read_packed(tmp_path / "changed.arrow").checksum
    assert len(sums[0]) == 64


def test_copies_map_the_same_file(tmp_path):
    clients = [client("a", 5), client("b", 2)]
    write_packed(tmp_path / "a.arrow", clients, META)
    dataset = read_packed(tmp_path / "a.arrow")
    assert len(pickle.dumps(dataset)) < 500
    assert_same(pickle.loads(pickle.dumps(dataset)), clients)
    assert_same(copy.deepcopy(dataset), clients)


def test_a_cut_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "a.arrow"
    write_packed(path, [client("a", 50)], META)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:-20], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.arrow: .* ingestion again"):
            read_packed(path)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([])):
        pass
    with pytest.raises(DataError, match="not a whole packed clients file, or written"):
        read_packed(path)
    with pytest.raises(DataError, match="no such file; run the ingestion"):
        read_packed(tmp_path / "none.arrow")


def test_a_flipped_bit_is_not_used(tmp_path):
    path = tmp_path / "a.arrow"
    write_packed(path, [client("a", 50)], META)
    pixels = read_packed(path).columns("a")["pixels"].tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(pixels)] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.arrow: damaged: .* packed again from the"):
        read_packed(path)


def test_the_checksum_is_verified_once_a_file(tmp_path, monkeypatch):
    path, hashed = tmp_path / "a.arrow", []
    digest = seal._digest
    monkeypatch.setattr(seal, "_digest", lambda *a: hashed.append(a) or digest(*a))
    for times in (2, 4):  # once to write it, once to read it
        write_packed(path, [client("a", 5)], META)
        for _ in range(3):
            read_packed(path)
        assert len(hashed) == times


def test_a_packed_file_is_plain_arrow(tmp_path):
    write_packed(tmp_path / "a.arrow", [client("a", 5)], META)
    with pa.ipc.open_file(str(tmp_path / "a.arrow")) as file:
        assert file.read_all()["client_id"].to_pylist() == ["a"]


def test_an_unknown_client_is_named(tmp_path):
    write_packed(tmp_path / "a.arrow", [client("a", 5)], META)
    with pytest.raises(DataError, match="no client 'b' among 1"):
        read_packed(tmp_path / "a.arrow").columns("b")


def bad_clients(kind):
    yield client("a", 3)
    if kind == "twice":
        yield client("a", 3)
    if kind == "lengths":
        uneven = client("b", 3)
        yield uneven._replace(
            columns={**uneven.columns, "label": np.zeros(2, np.uint8)}
        )
    if kind == "columns":
        yield ClientRecords("b", {"label": np.zeros(3, np.uint8)})
    if kind == "interrupt":
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("twice", DataError, "'a' comes twice"),
        ("lengths", DataError, "'b' has columns of different lengths"),
        ("columns", DataError, "'b' has other columns"),
        ("interrupt", KeyboardInterrupt, None),
    ],
)
def test_a_failed_write_leaves_the_former_file(tmp_path, kind, error, message):
    path = tmp_path / "a.arrow"
    write_packed(path, [client("old", 2)], META)
    with pytest.raises(error, match=message):
        write_packed(path, bad_clients(kind), META)
    assert read_packed(path).client_ids == ["old"]
    assert os.listdir(tmp_path) == ["a.arrow"]


def test_no_clients_and_odd_columns_are_refused(tmp_path):
    with pytest.raises(DataError, match="no clients to write"):
        write_packed(tmp_path / "a.arrow", [], META)
    odd = ClientRecords("a", {"x": np.array(["text"])})
    with pytest.raises(DataError, match="column 'x' is <U4 of 1 dim"):
        write_packed(tmp_path / "a.arrow", [odd], META)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_ends_in_one_clear_error(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.arrow: no space left .* free some"):
        write_packed(tmp_path / "a.arrow", [client("a", 3)], META)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a\rb", "a\0"])
def test_a_name_that_no_table_keeps_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="a carriage return or a NUL in its name"):
        write_packed(tmp_path / "a.arrow", [client(name, 3)], META)
    assert not (tmp_path / "a.arrow").exists()
