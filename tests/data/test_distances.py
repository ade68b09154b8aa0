"""Distances between clients: by hand, and against scipy in one dimension."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import wasserstein_distance

from fedmeta.data.distances import client_distances
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed


def labels(columns, rows):
    return columns["label"][rows]


def features(columns, rows):
    """Each record as a picture of 1 x d, so that flattening is needed."""
    x = torch.from_numpy(columns["x"][rows]).unsqueeze(1)
    return x, torch.from_numpy(columns["label"][rows])


@pytest.fixture
def measure(tmp_path):
    """A function from clients' (labels, features) to their distances."""

    def distances(data, sample=100, seed=0, start=0, client_ids=None):
        clients = [
            ClientRecords(name, {"label": np.array(y, np.uint8), "x": np.array(x)})
            for name, (y, x) in data.items()
        ]
        write_packed(tmp_path / "a.arrow", clients, {})
        rows = [(name, start, len(y)) for name, (y, _) in data.items()]
        table = pd.DataFrame(rows, columns=["client_id", "start", "stop"])
        return client_distances(
            read_packed(tmp_path / "a.arrow"),
            table,
            client_ids or list(data),
            labels,
            features,
            sample=sample,
            seed=seed,
        )

    return distances


def test_by_hand(measure):
    """c's first record is not used; the best coupling of b and c crosses over."""
    data = {
        "b": ([7, 0, 0, 1], [[9.0, 9], [0, 0], [0, 0], [0, 0]]),
        "a": ([7, 2, 2, 2], [[9.0, 9], [3, 4], [3, 4], [3, 4]]),
        "c": ([7, 1, 1, 0], [[9.0, 9], [3, 4], [0, 0], [0, 0]]),
    }
    table = measure(data, start=1)
    assert table.columns.to_list() == ["first", "second", "label_tv", "feature_w1"]
    pairs = list(zip(table["first"], table["second"], strict=True))
    assert pairs == [("b", "a"), ("b", "c"), ("a", "c")]
    # shares of the classes 0, 1, 2: b (2/3, 1/3, 0), a (0, 0, 1), c (1/3, 2/3, 0)
    assert table["label_tv"].to_list() == pytest.approx([1, 1 / 3, 1])
    # all of b's mass goes 5 far to a, a third of it to c
    assert table["feature_w1"].to_list() == pytest.approx([5, 5 / 3, 10 / 3])


def test_scipys_distance_in_one_dimension(measure):
    rng = np.random.default_rng(1)
    data = {
        name: (rng.integers(3, size=20), shift + rng.normal(size=(20, 1)))
        for name, shift in (("a", 0), ("b", 0.5), ("c", 3))
    }
    for pair in measure(data).itertuples():
        expected = wasserstein_distance(
            data[pair.first][1][:, 0], data[pair.second][1][:, 0]
        )
        assert pair.feature_w1 == pytest.approx(expected)


def test_all_take_as_many_records_as_the_smallest_client_has(measure):
    x = np.arange(6.0)[:, None]
    data = {"small": ([0, 0], x[:2] + 10), "large": ([0] * 6, x)}
    seen = {measure(data, seed=seed)["feature_w1"][0] for seed in range(30)}
    # two of 0..5 against 10, 11: the means differ by 10.5 less 0.5 to 4.5
    assert seen <= set(np.arange(6, 10.5, 0.5))
    assert len(seen) > 3
    whole = measure({"a": data["large"], "b": data["large"]}, sample=9)
    assert whole["feature_w1"][0] == 0


def test_a_sample_depends_on_the_seed_and_its_client_alone(measure):
    rng = np.random.default_rng(0)
    data = {name: (rng.integers(3, size=50), rng.random((50, 4))) for name in "abc"}
    table = measure(data, sample=5)
    pd.testing.assert_frame_equal(measure(data, sample=5), table)
    assert (measure(data, sample=5, seed=1)["feature_w1"] != table["feature_w1"]).all()
    known = {
        frozenset((pair.first, pair.second)): (pair.label_tv, pair.feature_w1)
        for pair in table.itertuples()
    }
    other = measure(data, sample=5, client_ids=["c", "a", "b"])
    pairs = list(zip(other["first"], other["second"], strict=True))
    assert pairs == [("c", "a"), ("c", "b"), ("a", "b")]
    for pair in other.itertuples():
        expected = known[frozenset((pair.first, pair.second))]
        assert (pair.label_tv, pair.feature_w1) == pytest.approx(expected)
    alike = measure({"a": data["a"], "b": data["a"]}, sample=5)
    assert alike["feature_w1"][0] > 0  # not the same five of both


def test_impossible_requests(measure):
    data = {name: ([0, 1], np.zeros((2, 1))) for name in "ab"}
    with pytest.raises(DataError, match="no client 'z' in the clients table of 2"):
        measure(data, client_ids=["a", "z"])
    with pytest.raises(DataError, match="sample is 0"):
        measure(data, sample=0)
