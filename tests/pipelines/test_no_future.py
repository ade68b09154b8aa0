"""No record later than the one predicted reaches a prediction of the third experiment.

A log is generated, what comes later is changed, and everything that a prediction is
made from has to stay: support set, slots, features, codebook, scores.
"""

from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.federated import read_packed, write_packed
from fedmeta.data.select import select_clients
from fedmeta.data.tasks import TASK_STREAM, Episode, stream, task_maker
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.recommendation.counting import COUNTING
from fedmeta.pipelines.recommendation.users import divided, services_used
from fedmeta.pipelines.recommendation.users import test_users as users_of

BENCHMARK = BENCHMARKS["recommendation"]
SLOTS = 2
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2),  # minutes since the record before: there are ties
        st.integers(0, 7),  # service
        st.sampled_from([None, 5, 50, 95]),  # battery
        st.sampled_from(["work", "play"]),
    ),
    min_size=8,
    max_size=30,
)
OPTIONS = PartitionOptions(
    clients=(0.4, 0.3, 0.3),
    support_fraction=0.5,
    query_fraction=0.2,
    strategy="order",
    seed=0,
)


def rows_of(user, records):
    """A user's log, in the order of time; duplicates may be among the records."""
    minutes = np.cumsum([record[0] for record in records])
    times = np.datetime64("2024-05-31T00:00") + minutes.astype("timedelta64[m]")
    columns = zip(*(record[1:] for record in records), strict=True)
    service, battery, category = map(list, columns)
    return pd.DataFrame(
        {
            "user": user,
            "time": times.astype(str),
            "service": [f"service {s}" for s in service],
            "battery": battery,
            "category": category,
        }
    )


def changed(rows, after):
    """Whatever is later than ``after``, an ISO time, is something else.

    Equal records stay equal: of duplicates one is kept, so that their number decides
    how many records there are.
    """
    late = rows["time"] > after
    rows = rows.copy()
    delay = pd.to_datetime(rows["time"]) - pd.Timestamp(after)
    later = (pd.Timestamp(after) + 700 * delay).dt.strftime("%Y-%m-%dT%H:%M")
    rows.loc[late, "time"] = later[late]
    others = {f"service {s}": f"service {5 * s + 3}" for s in range(8)}
    rows.loc[late, "service"] = rows["service"].map(others)[late]
    rows.loc[late, "battery"] = 100 - rows["battery"].fillna(7)[late]
    rows.loc[late, "category"] = "zz " + rows["category"][late]
    return rows


def prepared(folder, *tables):
    """Packed data and the clients table of a log."""
    path = folder / "log.csv"
    pd.concat(tables).to_csv(path, index=False)
    clients, metadata = BENCHMARK.parse(
        [path],
        user="user",
        time="time",
        service="service",
        context=["battery"],
        event=["category"],
        slots=SLOTS,
    )
    (folder / "records.arrow").unlink(missing_ok=True)
    write_packed(folder / "records.arrow", clients, metadata)
    records = read_packed(folder / "records.arrow")
    return records, select_clients(records, min_records=2)


def codebook_of(records, clients):
    training = clients[clients["client_id"] == "training"]
    return BENCHMARK.codebook(records, training, bins=3, recency=True)


def features(encoding, user, rows):
    x, y = encoding.examples(user.columns, rows)
    return torch.column_stack([x, y])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("no_future")


TRAINING = rows_of(
    "training", [(1, s % 6, 5 * s, "work" if s % 3 else "play") for s in range(20)]
)


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.sampled_from([0.05, 0.3, 0.8]), st.integers(0, 29))
def test_a_test_user_is_judged_by_what_came_before(folder, own, fraction, place):
    rows = rows_of("user", own)
    records, clients = prepared(folder, TRAINING, rows)
    if "user" not in set(clients["client_id"]):
        return  # duplicates left a single record
    book = codebook_of(records, clients)
    encoding = BENCHMARK.encoding(book)

    def seen(records, clients, book):
        data = Data(records, clients, {"test": ["user"]}, None, book)
        own = divided(data, OPTIONS, fraction)
        (user,) = users_of(own, encoding)
        mixed = services_used(own, encoding)("user")
        scores = {name: COUNTING[name](user, book, SLOTS) for name in COUNTING}
        return user, mixed, scores

    user, mixed, scores = seen(records, clients, book)
    last = user.query[place % len(user.query)]  # the record that is predicted
    until = str(np.datetime64(int(user.columns["time"][last]), "s"))
    others, same_clients = prepared(folder, TRAINING, changed(rows, until))
    assert codebook_of(others, same_clients).tables.keys() == book.tables.keys()
    for name, table in codebook_of(others, same_clients).tables.items():
        assert torch.equal(table, book.tables[name])
    other, other_mixed, other_scores = seen(others, same_clients, book)
    assert other.support.tolist() == user.support.tolist()
    assert other.query.tolist() == user.query.tolist()
    asked = user.query[user.query <= last]
    for part in (user.support, asked):
        before, after = (features(encoding, u, part) for u in (user, other))
        assert torch.equal(before, after)
    assert torch.equal(mixed.x[: last + 1], other_mixed.x[: last + 1])
    for name, table in scores.items():
        np.testing.assert_array_equal(
            table[: len(asked)], other_scores[name][: len(asked)], err_msg=name
        )


@settings(max_examples=50, deadline=None)
@given(RECORDS, st.integers(0, 29))
def test_the_slots_of_a_test_user_are_those_of_her_support(folder, own, place):
    """What lies between support and query has none of them to give away."""
    rows = rows_of("user", own)
    records, clients = prepared(folder, TRAINING, rows)
    if "user" not in set(clients["client_id"]):
        return
    encoding = BENCHMARK.encoding(codebook_of(records, clients))
    data = Data(records, clients, {"test": ["user"]}, None, None)
    data = divided(data, OPTIONS, 0.3)
    (user,) = users_of(data, encoding)
    last = user.support[-1]
    until = str(np.datetime64(int(user.columns["time"][last]), "s"))
    others, _ = prepared(folder, TRAINING, changed(rows, until))
    (other,) = users_of(data._replace(records=others), encoding)
    before, after = (features(encoding, u, user.support) for u in (user, other))
    assert torch.equal(before, after)


@settings(max_examples=50, deadline=None)
@given(RECORDS, st.sampled_from(["block", "random"]), st.booleans())
def test_an_episode_of_training_knows_nothing_later(folder, own, sampling, whole):
    rows = rows_of("user", own)
    records, clients = prepared(folder, TRAINING, rows)
    if "user" not in set(clients["client_id"]):
        return
    encoding = BENCHMARK.encoding(codebook_of(records, clients))
    data = Data(records, clients, {"test": ["user"]}, None, None)
    split = divided(data, OPTIONS, 0.5).support_query
    episode = Episode(500, 0.6, sampling)
    time = records.columns("user")["time"]
    drawn = episode.draw(len(time), stream(1, TASK_STREAM, crc32(b"user"), 5))
    if not whole:  # what is later than the support does not reach it
        drawn = drawn[: episode.size(len(time))[0]]
    until = str(np.datetime64(int(time[drawn[-1]]), "s"))
    others, _ = prepared(folder, TRAINING, changed(rows, until))

    def task(records):
        make = task_maker(records, clients, split, encoding, seed=1, episode=episode)
        return make("user", 5)

    before, after = task(records), task(others)
    assert torch.equal(before.support.x, after.support.x)
    assert torch.equal(before.support.y, after.support.y)
    if whole:
        assert torch.equal(before.query.x, after.query.x)
        assert torch.equal(before.query.y, after.query.y)
