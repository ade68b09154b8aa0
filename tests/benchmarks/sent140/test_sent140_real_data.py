"""Real texts, read a second way: SENT140=/folder/or/file.csv pytest -m real_data.

Stanford's own files or any CSV of their layout.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedmeta.benchmarks.sent140.benchmark import SENT140, TABLE1
from fedmeta.benchmarks.sent140.parse import find_raw, parse
from fedmeta.benchmarks.sent140.stanford import COLUMNS, TRAINING
from fedmeta.benchmarks.sent140.tokens import token_hash
from fedmeta.benchmarks.sent140.vectors import codebook, encoding
from fedmeta.data.federated import read_packed, write_packed
from fedmeta.data.select import select_clients
from fedmeta.data.statistics import client_statistics

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not os.environ.get("SENT140"), reason="SENT140 is not given"),
]


@pytest.fixture(scope="module")
def files():
    place = Path(os.environ["SENT140"])
    return [place] if place.is_file() else find_raw(place)


@pytest.fixture(scope="module")
def table(files):
    """The rows as pandas reads them."""
    options = {"header": None, "names": COLUMNS, "dtype": str, "keep_default_na": False}
    return pd.concat([pd.read_csv(f, encoding="latin-1", **options) for f in files])


@pytest.fixture(scope="module")
def records(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "records.arrow"
    write_packed(path, *parse(files, lowercase=True, min_records=25))
    return read_packed(path)


def test_every_user_of_25_tweets_is_there_with_all_of_them(records, table):
    sizes = table["user"].value_counts()
    sizes = sizes[sizes >= 25].sort_index()
    assert records.client_ids == sizes.index.tolist()
    np.testing.assert_array_equal(records.num_examples, sizes)
    positive = (table["polarity"] == "4").groupby(table["user"]).sum()
    for client in records.client_ids:
        assert records.columns(client)["label"].sum() == positive[client]


def test_tokens_are_those_of_the_text(records, table):
    client = records.client_ids[len(records.client_ids) // 2]
    texts = table["text"][table["user"] == client]
    for text, hashes in zip(texts, records.columns(client)["tokens"], strict=True):
        tokens = re.findall(r"[\w']+|[.,!?;]", text.lower())[:25]
        expected = [token_hash(token) for token in tokens]
        assert hashes.tolist() == expected + [0] * (25 - len(expected))


def test_data_of_another_name_are_not_called_sent140(records, files):
    own = any(file.name == TRAINING for file in files)
    assert ("name" in records.metadata) != own
    assert records.metadata["synthetic"] == "false"
    if own:
        clients = select_clients(records, min_records=25)
        statistics = client_statistics(clients, records, SENT140.labels, TABLE1)
        assert statistics.set_index("quantity").loc["classes", "verdict"] == "within"


def test_words_tell_the_label_of_unseen_users(records):
    """A linear classifier on sums of hashed vectors beats the majority by far."""
    clients = select_clients(records, min_records=25)[:400]
    book = codebook(records, clients, embedding="hashed", width=200, vocabulary=1)
    examples = encoding(book).examples
    xs, ys = [], []
    for row in clients.itertuples():
        columns = records.columns(row.client_id)
        x, y = examples(columns, np.arange(row.start, min(row.stop, 200)))
        xs.append(x.sum(1).numpy())
        ys.append(y.numpy())
    half = len(xs) // 2
    x, y = np.concatenate(xs[:half]), np.concatenate(ys[:half])
    weights = np.linalg.solve(x.T @ x + 100 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    x, y = np.concatenate(xs[half:]), np.concatenate(ys[half:])
    scores = x @ weights
    # how often a positive text scores above a negative one; chance is 0.5
    positive, negative = scores[y == 1][:2000], scores[y == 0][:2000]
    assert (positive[:, None] > negative[None]).mean() > 0.6
