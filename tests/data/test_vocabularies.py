"""Parts of a data set with lists of classes and categories of their own."""

import json
import pickle

import numpy as np
import pytest

from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.vocabularies import recoded, united


def lists(classes, **categories):
    return {"classes": json.dumps(classes), "categories": json.dumps(categories)}


def test_lists_are_united_in_order():
    made = united([lists(["10", "9"], town=["b"]), lists(["2"], town=["a", "c"])])
    assert json.loads(made["classes"]) == ["2", "9", "10"]
    assert json.loads(made["categories"]) == {"town": ["a", "b", "c"]}
    assert united([{"synthetic": "true"}] * 2) == {}


@pytest.mark.parametrize("other", [{}, lists(["a"], street=["x"])])
def test_other_categories_are_refused(other):
    with pytest.raises(ValueError, match=r"categories are|others have none"):
        united([lists(["a"], town=["x"]), other])


def test_records_get_the_numbers_of_the_united_lists(tmp_path):
    own = lists(["no", "yes"], town=["b", "d"], kind=["x"])
    columns = {
        "label": np.array([0, 1, 0], np.int32),
        "categories": np.array([[0, -1], [1, 0], [-1, 0]], np.int32),
    }
    path = tmp_path / "records.arrow"
    write_packed(path, [ClientRecords("ann", columns)], own)
    records = read_packed(path)
    wanted = lists(["maybe", "no", "yes"], town=["a", "b", "d"], kind=["w", "x"])
    for found in (made := recoded(records, wanted), pickle.loads(pickle.dumps(made))):
        assert {**found.metadata, "checksum": ""} == {**wanted, "checksum": ""}
        assert found.columns("ann")["label"].tolist() == [1, 2, 1]
        assert found.columns("ann")["categories"].tolist() == [[1, -1], [2, 1], [-1, 1]]
        assert found.columns("ann")["label"].dtype == np.int32
    assert records.columns("ann")["label"].tolist() == [0, 1, 0]
    assert recoded(records, own) is records
    assert recoded(records, {}) is records
