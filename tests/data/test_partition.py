"""Client splits and support/query partitions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.partition import (
    ORDERS,
    checksum,
    partition_examples,
    split_clients,
    validate_partition,
    validate_split,
)


def table(sizes, start=0):
    rows = [(f"c{i:04d}", start, start + n) for i, n in enumerate(sizes)]
    return pd.DataFrame(rows, columns=["client_id", "start", "stop"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """60 records of class 0, 30 of class 1, ten classes of one record."""
    path = tmp_path_factory.mktemp("packed") / "a.arrow"
    labels = np.array([0] * 60 + [1] * 30 + list(range(2, 12)), np.uint8)
    clients = [ClientRecords(f"c{i:04d}", {"label": labels}) for i in range(40)]
    write_packed(path, clients, {})
    return read_packed(path)


@pytest.mark.parametrize(
    ("clients", "sizes"),
    [(1068, (854, 106, 108)), (528, (422, 52, 54)), (3790, (3032, 379, 379))],
)
def test_the_papers_split_sizes(clients, sizes):
    split = split_clients([f"c{i}" for i in range(clients)], [0.8, 0.1, 0.1], 0)
    assert tuple(map(len, list(split.values())[:3])) == sizes


def test_split_depends_on_ids_and_seed_only():
    ids = [f"c{i}" for i in range(50)]
    split = split_clients(ids, [0.8, 0.1], 3)
    assert split == split_clients(ids[::-1], [0.8, 0.1, 0.1], 3)
    assert split["checksum"] != split_clients(ids, [0.8, 0.1], 4)["checksum"]
    assert sorted(split["train"] + split["validation"] + split["test"]) == sorted(ids)


@pytest.mark.parametrize(
    "fractions", [[0.8], [0.8, 0.2], [0.9, 0.2], [0, 0.5], [1.0, 0.1, 0.1], [0.5] * 3]
)
def test_impossible_client_fractions(fractions):
    with pytest.raises(DataError, match=r"inside \(0, 1\), that sum to 1"):
        split_clients([f"c{i}" for i in range(50)], fractions, 0)


def test_too_few_clients_to_split():
    with pytest.raises(DataError, match="9 clients cannot .* expected 10 or more"):
        split_clients([f"c{i}" for i in range(9)], [0.8, 0.1, 0.1], 0)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=5),
    fractions=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
    seed=st.integers(0, 2**32),
)
def test_partition_is_whole_disjoint_and_nested(sizes, fractions, seed):
    small, large = (
        partition_examples(table(sizes, start=1), p, seed) for p in sorted(fractions)
    )
    for n, a, b in zip(sizes, small.itertuples(), large.itertuples(), strict=True):
        assert 1 <= a.num_support <= b.num_support <= n - 1
        assert a.num_support + a.num_query == n
        np.testing.assert_array_equal(a.order, b.order)
        assert sorted(a.order) == list(range(n))


@pytest.mark.parametrize(
    ("p", "n", "support"), [(0.2, 2, 1), (0.2, 10, 2), (0.9, 5, 4), (0.3, 10, 3)]
)
def test_support_size_by_hand(p, n, support):
    assert partition_examples(table([n]), p, 0)["num_support"].item() == support


def test_a_clients_order_does_not_depend_on_the_others():
    both = partition_examples(table([9, 7]), 0.5, 0)
    alone = partition_examples(table([9, 7]).iloc[1:], 0.5, 0)
    np.testing.assert_array_equal(both["order"][1], alone["order"][0])
    other_seed = partition_examples(table([9, 7]), 0.5, 1)
    assert checksum(both) == checksum(both.copy()) != checksum(other_seed)


def labels(columns, rows):
    return columns["label"][rows]


def test_stratified_keeps_shares_and_singletons(dataset):
    clients = table([100] * 40)
    frame = partition_examples(clients, 0.2, 0, "stratified", 0, dataset, labels)
    lone = 0
    for row in frame.itertuples():
        classes = labels(dataset.columns(row.client_id), row.order[: row.num_support])
        assert abs((classes == 0).sum() - 12) <= 2
        assert abs((classes == 1).sum() - 6) <= 2
        lone += (classes > 1).sum()
    assert 40 < lone < 120  # 80 expected of 400 singletons, none lost


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fraction_outside(fraction):
    with pytest.raises(DataError, match=r"support_fraction .* inside \(0, 1\)"):
        partition_examples(table([5]), fraction, 0)


def test_other_errors_of_a_partition():
    with pytest.raises(DataError, match="'c0001' has 1 records.*raise min_records"):
        partition_examples(table([5, 1]), 0.5, 0)
    with pytest.raises(DataError, match="'by_size'; one of order, random, stratified"):
        partition_examples(table([5]), 0.5, 0, "by_size")
    with pytest.raises(DataError, match="needs the data set"):
        partition_examples(table([5]), 0.5, 0, "stratified")
    with pytest.raises(DataError, match="gap 3 .*set gap to 0, or strategy to 'order'"):
        partition_examples(table([5]), 0.5, 0, "random", 3)
    assert set(ORDERS) == {"random", "stratified", "order"}


def test_in_order_with_a_gap():
    clients = table([10, 4, 2], start=3)
    frame = partition_examples(clients, 0.2, 0, "order", 3)
    assert frame["client_id"].tolist() == ["c0000"]  # the others have no query record
    assert frame["order"].tolist() == [[0, 1, 5, 6, 7, 8, 9]]
    assert frame["num_query"].tolist() == [5]


def test_a_client_to_whom_a_gap_leaves_too_few_query_records_is_left_out():
    clients = table([20, 14, 13, 12, 5])
    for least, kept in [(1, 5), (7, 4), (8, 3), (9, 2), (13, 1)]:
        frame = partition_examples(clients, 0.2, 0, "order", 3, min_query=least)
        assert frame["client_id"].tolist() == clients["client_id"][:kept].tolist()
        assert (frame["num_query"] >= least).all()
        whole = partition_examples(clients[:kept], 0.2, 0, "order", 3)
        pd.testing.assert_frame_equal(frame, whole)  # it changes nobody else's sets
    # without a gap nothing is lost, and nobody is left out
    for gapless in ("order", "random"):
        frame = partition_examples(clients, 0.2, 0, gapless, min_query=100)
        assert len(frame) == 5


def test_few_query_records_by_query_fraction_are_no_gaps_doing():
    clients = table([20, 20])
    frame = partition_examples(
        clients, 0.2, 0, "order", 2, query_fraction=0.1, min_query=5
    )
    assert frame["num_query"].tolist() == [2, 2]


def test_a_gap_that_leaves_nobody():
    told = (
        "gap 80 leaves fewer than 5 query records to each of 2 clients, the largest of"
        " which has 20 records, 4 of them support; lower gap, min_query or"
    )
    with pytest.raises(DataError, match=told):
        partition_examples(table([20, 9]), 0.2, 0, "order", 80, min_query=5)


def test_validate_split_refuses():
    split = split_clients([f"c{i}" for i in range(20)], [0.8, 0.1], 0)
    validate_split(split)
    shared = {**split, "test": split["test"][:-1] + split["train"][:1]}
    twice = {**split, "train": split["train"] + split["train"][:1]}
    for bad, message in [
        (shared, "is in train and test"),
        (twice, "is in train and train"),
        ({**split, "validation": []}, "no validation clients"),
        ({**split, "test": split["test"][:-1]}, "changed after it was made"),
    ]:
        with pytest.raises(DataError, match=message):
            validate_split(bad)


def test_validate_partition_refuses():
    frame = partition_examples(table([4, 5]), 0.5, 0)
    first, second = frame["order"]
    overlap = frame.assign(order=[[0, 1, 1, 3], second])
    lost = frame.assign(order=[first, np.array([0, 1, 2, 3])])
    for bad, message in [
        (overlap, "'c0000': support and query overlap"),
        (lost, "'c0001': .* not the 5 records"),
        (frame.assign(num_support=[0, 2], num_query=[4, 3]), "each side needs one"),
        (pd.concat([frame, frame]), "'c0000' comes twice"),
        (frame.iloc[:0], "no clients"),
    ]:
        with pytest.raises(DataError, match=message):
            validate_partition(bad)


def test_a_query_fraction_fixes_the_query_whatever_the_support():
    for fraction, support in ((0.8, 80), (0.05, 5), (0.001, 1)):
        row = partition_examples(
            table([100]), fraction, 0, "order", query_fraction=0.2
        ).iloc[0]
        assert (row.num_support, row.num_query) == (support, 20)
        assert row.order == [*range(support), *range(80, 100)]


def test_a_query_fraction_of_few_records():
    # floor(.8 * 7) = 5 before the query; of two records one is query
    for size, sides in ((7, (5, 2)), (2, (1, 1))):
        row = partition_examples(
            table([size]), 0.8, 0, "order", query_fraction=0.2
        ).iloc[0]
        assert (row.num_support, row.num_query) == sides


@pytest.mark.parametrize("query", [0.0, 0.3, 1.0, -0.1])
def test_impossible_query_fractions(query):
    with pytest.raises(DataError, match="sum to 1 at most"):
        partition_examples(table([10]), 0.8, 0, query_fraction=query)
