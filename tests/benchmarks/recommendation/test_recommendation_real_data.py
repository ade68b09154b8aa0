"""A real usage log, read a second way: USAGE_LOG=/folder/of/csv pytest -m real_data.

CSV files whose first columns are user, time and service.
"""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedmeta.benchmarks.recommendation.blocks import with_slots
from fedmeta.benchmarks.recommendation.features import (
    codebook,
    encoding,
    recent_services,
)
from fedmeta.benchmarks.recommendation.parse import find_raw, parse
from fedmeta.data.federated import read_packed, write_packed

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not os.environ.get("USAGE_LOG"), reason="USAGE_LOG is not given"
    ),
]


@pytest.fixture(scope="module")
def files():
    return find_raw(Path(os.environ["USAGE_LOG"]))


@pytest.fixture(scope="module")
def table(files):
    """The rows as pandas reads them, in order, each once."""
    rows = pd.concat([pd.read_csv(f, dtype=str) for f in files]).iloc[:, :3]
    rows = rows.set_axis(["user", "time", "service"], axis=1).drop_duplicates()
    rows["time"] = pd.to_datetime(rows["time"])
    return rows.sort_values(["user", "time"], kind="stable")


@pytest.fixture(scope="module")
def records(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "records.arrow"
    user, time, service, *_ = pd.read_csv(files[0], nrows=0).columns
    write_packed(path, *parse(files, user=user, time=time, service=service))
    return read_packed(path)


def seen(records, client):
    """Columns of a client who learns from all of her records."""
    columns = records.columns(client)
    return with_slots(columns, np.arange(len(columns["number"])), 40)


def test_every_record_is_there_once_and_in_order(records, table):
    assert records.client_ids == sorted(table["user"].unique())
    assert records.num_examples.sum() == len(table)
    names = np.array(json.loads(records.metadata["services"]))
    assert len(names) == table["service"].nunique()
    for client, rows in table.groupby("user"):
        columns = records.columns(client)
        seconds = rows["time"].astype("datetime64[s]").astype(np.int64)
        assert (columns["time"] == seconds).all()
        # of one moment, the order is the file's
        used = names[columns["service"]]
        assert sorted(zip(seconds, used, strict=True)) == sorted(
            zip(seconds, rows["service"], strict=True)
        )


def test_local_numbers_stand_for_one_service_each(records):
    for client in records.client_ids:
        columns = seen(records, client)
        numbered = columns["label"] >= 0
        pairs = set(
            zip(columns["label"][numbered], columns["service"][numbered], strict=True)
        )
        labels = [label for label, _ in pairs]
        assert len(pairs) == len(set(labels)) == len({s for _, s in pairs}) <= 40
        first = pd.unique(columns["label"][numbered])
        assert first.tolist() == sorted(labels)  # numbered as they appear


def test_the_service_before_is_what_the_features_say(records):
    clients = pd.DataFrame(
        {"client_id": records.client_ids, "start": 0, "stop": records.num_examples}
    )
    examples = encoding(codebook(records, clients, recency=True)).examples
    for client in records.client_ids[:50]:
        columns = seen(records, client)
        rows = np.arange(1, len(columns["label"]))
        x, _ = examples(columns, rows)
        before = columns["label"][:-1]
        known = before >= 0
        assert (x[:, :40].argmax(1).numpy()[known] == before[known]).all()
        assert (x[:, :40].sum(1).numpy() == known).all()
        last = recent_services(columns["label"], 1)[1:, 0]
        assert (last[known] == before[known]).all()
