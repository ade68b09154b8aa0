"""From packed records to zeros and ones."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from fedmeta.benchmarks.recommendation.blocks import BLOCKS, NOTHING
from fedmeta.benchmarks.recommendation.features import (
    block_codes,
    block_sizes,
    codebook,
    encoding,
    labels,
    recent_services,
)
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed

NAN = np.nan
BATTERY = {"name": "battery", "kind": "numeric", "values": []}
CATEGORY = {
    "name": "previous category",
    "kind": "categorical",
    "values": list("abcdef"),
}


def client(name, context, labels=None):
    n = len(context)
    labels = np.zeros(n) if labels is None else np.array(labels)
    columns = {
        "service": np.arange(n, dtype=np.int32) + 100,
        "label": labels.astype(np.int16),
        "codes": np.full((n, len(BLOCKS)), NOTHING, np.uint8),
    }
    context = np.array(context, dtype=np.float32)
    return ClientRecords(name, columns | ({"context": context} if context.size else {}))


@pytest.fixture
def packed(tmp_path):
    """Makes a data set of some clients."""

    def make(described, *clients, slots=40):
        path = tmp_path / "packed.arrow"
        metadata = {"context": json.dumps(described), "slots": str(slots)}
        write_packed(path, clients, metadata)
        records = read_packed(path)
        table = pd.DataFrame({"client_id": records.client_ids, "start": 0})
        return records, table.assign(stop=records.num_examples)

    return make


@pytest.fixture
def sample(packed):
    """Batteries 0..99; categories 0 to 5, of which 5 and 4 are rare."""
    batteries = np.arange(100)
    counts = np.repeat(np.arange(6), [10, 30, 25, 20, 5, 10])
    return packed([BATTERY, CATEGORY], client("a", np.stack([batteries, counts], 1)))


def test_the_papers_dimension_with_battery_and_category(sample):
    book = codebook(*sample, recency=False)
    assert block_sizes(book) == [40, 24, 7, 1, 1, 8, 4, 4, 10, 4]
    assert encoding(book).sizes == {"features": 103, "classes": 40}
    assert book.note.startswith("103 features of 0 or 1: previous service 40, hour 24")
    assert book.note.endswith("battery 10, previous category 4 of 6 values")


def test_the_papers_dimension_with_recency_and_event(packed):
    kinds = {**CATEGORY, "name": "previous event_type"}
    rows = [[kind] for kind in (0, 1, 2, 3, NAN)]
    book = codebook(*packed([kinds], client("a", rows)), recency=True)
    assert block_sizes(book) == [40, 24, 7, 1, 1, 8, 4, 4, *[1] * 10, 4]
    assert encoding(book).sizes["features"] == 103
    assert "last 10 records 10" in book.note


def test_a_log_of_users_times_and_services_alone(packed):
    records, clients = packed([], client("a", np.empty((3, 0))), slots=12)
    book = codebook(records, clients, recency=False)
    assert encoding(book).sizes == {"features": 89 - 28, "classes": 12}
    x, _ = encoding(book).examples(records.columns("a"), np.arange(3))
    assert x.shape == (3, 61)


def test_edges_are_quantiles_and_categories_the_most_frequent(sample):
    book = codebook(*sample, recency=False)
    np.testing.assert_allclose(
        book.tables["edges_0"], np.arange(1, 10) * 9.9, rtol=1e-6
    )
    assert book.tables["values_1"].tolist() == [1, 2, 3, 0]  # 0 before 5, as often
    few = codebook(*sample, bins=2, categories=9, recency=False)
    assert block_sizes(few)[-2:] == [2, 6]


def test_only_used_records_of_training_clients_decide(packed):
    rows = [[battery] for battery in [0, 1, 2, 3, 999]]
    records, clients = packed([BATTERY], client("a", rows), client("b", [[-999]] * 5))
    training = clients[:1].assign(stop=4)
    book = codebook(records, training, bins=2, recency=False)
    assert book.tables["edges_0"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("described", "values", "message"),
    [
        (BATTERY, [NAN, NAN], "column 'battery' is empty"),
        (BATTERY, [5, NAN, 5], "column 'battery' is the same everywhere"),
        (CATEGORY, [2, 2], "column 'previous category' is the same everywhere"),
    ],
)
def test_columns_that_tell_nothing(packed, described, values, message):
    records, clients = packed([described], client("a", [[value] for value in values]))
    with pytest.raises(DataError, match=rf"packed\.arrow: {message} .*leave it out"):
        codebook(records, clients, recency=False)


@pytest.mark.parametrize("limits", [{"bins": 1}, {"bins": 256}, {"categories": 0}])
def test_limits_out_of_range(sample, limits):
    with pytest.raises(DataError, match="expected 2 to 255 bins and 1 to 255 categ"):
        codebook(*sample, recency=False, **limits)


def test_examples_by_hand(sample):
    book = codebook(*sample, recency=False)
    columns = {
        "codes": np.full((3, 18), NOTHING, np.uint8),
        "label": np.array([7, 0, -1], np.int16),
        "service": np.array([300, 0, 2], np.int32),
        "context": np.array([[95, 3], [NAN, 4], [9.9, NAN]], np.float32),
    }
    columns["codes"][0, :3] = [39, 0, 6]
    columns["codes"][0, 8:] = 0  # recency, which is not asked for
    columns["codes"][2, 4] = 0
    rows = np.array([2, 0, 1])
    x, y = encoding(book).examples(columns, rows)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert y.tolist() == [-1, 7, 0]
    assert [row.nonzero().flatten().tolist() for row in x] == [
        [40 + 24 + 7 + 1, 89 + 1],  # a value on an edge is above it
        [39, 40, 40 + 24 + 6, 89 + 9, 89 + 10 + 2],
        [],
    ]
    assert set(x.unique().tolist()) == {0, 1}
    codes = block_codes(book)(columns, rows)
    assert codes.dtype == np.uint8
    n = NOTHING
    assert codes.tolist() == [
        [n, n, n, n, 0, n, n, n, 1, n],
        [39, 0, 6, n, n, n, n, n, 9, 2],
        [n] * 10,
    ]
    assert labels(columns, rows).tolist() == [2, 300, 0]


def test_recency_is_added_on_request(sample):
    book = codebook(*sample, recency=True)
    columns = {
        "codes": np.full((1, 18), NOTHING, np.uint8),
        "label": np.zeros(1, np.int16),
        "context": np.full((1, 2), NAN, np.float32),
    }
    columns["codes"][0, [8, 17]] = 0
    x, _ = encoding(book).examples(columns, np.array([0]))
    assert x.shape == (1, 113)
    assert x[0].nonzero().flatten().tolist() == [89, 98]


def test_services_used_last():
    recent = recent_services(np.array([2, 2, 0, -1, 1, 2]), 3)
    assert recent.tolist() == [
        [-1, -1, -1],
        [2, -1, -1],
        [2, -1, -1],
        [0, 2, -1],
        [0, 2, -1],
        [1, 0, 2],
    ]
    assert recent_services(np.array([0, 0]), 2).tolist() == [[-1, -1], [0, -1]]
    assert recent_services(np.array([], np.int16), 4).shape == (0, 4)
    assert recent_services(np.array([-1, -1]), 1).tolist() == [[-1], [-1]]
