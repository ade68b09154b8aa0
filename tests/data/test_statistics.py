"""Table 1's statistics, by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.statistics import Reference, client_statistics


@pytest.fixture
def dataset(tmp_path):
    classes = {"a": [5, 1, 1, 1], "b": [2, 3], "c": [9]}
    clients = [
        ClientRecords(c, {"label": np.array(y, np.uint8)}) for c, y in classes.items()
    ]
    write_packed(tmp_path / "a.arrow", clients, {})
    return read_packed(tmp_path / "a.arrow")


def labels(columns, rows):
    return columns["label"][rows]


def test_by_hand(dataset):
    rows = [("a", 1, 4), ("b", 0, 2)]  # c and the first record of a are not used
    clients = pd.DataFrame(rows, columns=["client_id", "start", "stop"])
    paper = {
        "clients": Reference(2),
        "samples": Reference(4, 0.2),
        "classes_min": Reference(1),
    }
    table = client_statistics(clients, dataset, labels, paper).set_index("quantity")
    assert table["value"].to_dict() == {
        "clients": 2,
        "samples": 5,
        "classes": 3,
        "samples_mean": 2.5,
        "samples_sd": 0.5,
        "classes_min": 1,
        "classes_max": 2,
    }
    assert table["verdict"][["clients", "samples", "classes_min"]].to_list() == [
        "within",
        "outside",
        "within",
    ]
    assert table["verdict"]["classes"] == ""
    assert math.isnan(table["paper"]["classes"])


def test_a_misspelt_quantity(dataset):
    clients = pd.DataFrame({"client_id": ["a"], "start": [0], "stop": [4]})
    with pytest.raises(DataError, match="unknown statistic 'client'; one of clients"):
        client_statistics(clients, dataset, labels, {"client": Reference(1)})
