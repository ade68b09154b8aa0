"""Ids in little memory behave as a list of them."""

import gc
import pickle

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmeta.data import ids as module
from fedmeta.data.ids import Ids

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(st.lists(texts, max_size=20), st.integers(0, 25), st.integers(-25, 25))
def test_as_a_list(names, first, last):
    ids = Ids(pa.array(names, pa.string()))
    assert ids == names
    assert names == ids
    assert [*ids] == names
    assert len(ids) == len(names)
    assert ids[first:last] == names[first:last]
    assert [ids[row] for row in range(-len(names), len(names))] == names + names
    assert [ids.row(name) for name in names] == [names.index(name) for name in names]
    assert ids.take(ids.order()) == sorted(names)
    assert all(name in ids for name in names)
    assert "absent" not in ids
    with pytest.raises(KeyError, match="absent"):
        ids.row("absent")
    twice = [name for row, name in enumerate(names) if name in names[:row]]
    assert ids.repeated() == (twice[0] if twice else None)


def test_more_than_a_piece(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 3)
    names = [f"c{number}" for number in range(10)]
    ids = Ids(names)
    assert [*ids] == names
    assert ids != [*names[:-1], "c"]
    assert [ids.row(name) for name in names] == list(range(10))


def test_equal_ids_share_an_index():
    names = ["ann", "bob", "cid"]
    ids, before = Ids(names), set(module._INDEXED)
    copies = [Ids(pd.Series(names)), Ids(["z", *names])[1:]]
    copies.append(pickle.loads(pickle.dumps(ids)))
    assert {id(copy._index) for copy in copies} == {id(ids._index)}
    others = [Ids(["ann", "bob"]), Ids(["ann", "bob", "dan"])]
    assert {id(other._index) for other in others}.isdisjoint({id(ids._index)})
    del ids, copies  # and nothing of it stays
    gc.collect()
    assert len({*module._INDEXED} - before) == len(others)


def test_equal_hashes_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "hash", len, raising=False)
    ids = Ids(["ann", "bob", "cid", "d"])
    assert [ids.row(name) for name in ids] == [0, 1, 2, 3]
    assert "eve" not in ids
    assert ids.repeated() is None
    assert Ids(["ann", "bob", "ann", "bob"]).repeated() == "ann"


def test_columns_share_the_memory(tmp_path):
    ids = Ids([f"c{number}" for number in range(1000)])
    before = pa.total_allocated_bytes()
    column = ids.to_pandas()
    assert Ids(column) == ids
    assert pa.total_allocated_bytes() - before < 1000
    pd.testing.assert_series_equal(column, pd.Series([*ids]))
    assert pickle.loads(pickle.dumps(ids)).row("c7") == 7
