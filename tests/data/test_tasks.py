"""Tasks and cohorts: drawn by seed, client and round alone."""

import tracemalloc
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from fedmeta.data.encoding import Encoding
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.partition import partition_examples, split_clients
from fedmeta.data.select import select_clients
from fedmeta.data.tasks import (
    Episode,
    poisson_cohort,
    pooled_task_maker,
    sample_cohort,
    task_maker,
)

SIZES = {"ann": 10, "bob": 25, "cy": 2}
START = 1  # the first record of each is not used


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Records that carry their own number and their client's."""
    path = tmp_path_factory.mktemp("packed") / "a.arrow"

    def numbered(owner, n):
        own = np.arange(n, dtype=np.uint8)
        pixels = np.stack([own, np.full_like(own, owner)], axis=1)
        return {"pixels": pixels, "label": own % 5}

    clients = [
        ClientRecords(name, numbered(owner, n + START))
        for owner, (name, n) in enumerate(SIZES.items())
    ]
    write_packed(path, clients, {})
    return read_packed(path)


CLIENTS = pd.DataFrame(
    [(name, START, n + START) for name, n in SIZES.items()],
    columns=["client_id", "start", "stop"],
)


def examples(columns, rows):
    x, y = columns["pixels"][rows], columns["label"][rows]
    return torch.from_numpy(x).float(), torch.from_numpy(y).long()


ENCODING = Encoding(examples, {})


def maker(dataset, fraction=0.4, **options):
    partition = partition_examples(CLIENTS, fraction, 0)
    return task_maker(
        dataset, CLIENTS, partition, ENCODING, **{"seed": 0, "passes": 2} | options
    )


def records(batch):
    """The numbers of the records, in the order in which they come."""
    return batch.x[:, 0].int().tolist()


def drawn(task):
    return records(task.support), records(task.query), task.orders.tolist()


def test_tasks_do_not_depend_on_the_order_of_calls(dataset):
    asked = [(client, number) for client in SIZES for number in (3, 0, 7)]
    one_way, other_way = maker(dataset), maker(dataset)
    first = {key: drawn(one_way(*key)) for key in asked}
    second = {key: drawn(other_way(*key)) for key in reversed(asked)}
    assert first == second


def test_rounds_and_seeds_shuffle_anew(dataset):
    support, query, orders = drawn(maker(dataset)("bob", 1))
    for other in (maker(dataset)("bob", 2), maker(dataset, seed=1)("bob", 1)):
        other_support, other_query, other_orders = drawn(other)
        # other orders of the same sets
        assert other_support != support
        assert sorted(other_support) == sorted(support)
        assert other_query != query
        assert sorted(other_query) == sorted(query)
        assert other_orders != orders


def test_support_and_query_make_up_the_used_records(dataset):
    for client, size in SIZES.items():
        task = maker(dataset)(client, 1)
        support, query, orders = drawn(task)
        assert sorted(support + query) == list(range(START, size + START))
        assert len(support) == max(1, int(0.4 * size))
        assert task.support.mask is None
        assert task.support.y.tolist() == [n % 5 for n in support]
        assert [sorted(order) for order in orders] == [list(range(size))] * 2
        assert orders[0] != orders[1] or size == 2


def test_supports_are_nested_across_fractions(dataset):
    small, middle, large = (
        set(records(maker(dataset, p)("bob", 1).support)) for p in (0.2, 0.5, 0.9)
    )
    assert small < middle < large


def test_resampling_draws_new_sets_every_round(dataset):
    make_task = maker(dataset, resample=True)
    supports = [set(records(make_task("bob", number).support)) for number in range(9)]
    assert {len(support) for support in supports} == {10}
    assert len({frozenset(support) for support in supports}) > 5
    support, query, _ = drawn(make_task("bob", 4))
    assert sorted(support + query) == list(range(START, 25 + START))
    assert drawn(make_task("bob", 4)) == drawn(maker(dataset, resample=True)("bob", 4))


def test_an_algorithm_that_needs_no_passes_gets_the_same_sets(dataset):
    """All algorithms meet the same batches, however much else they draw."""
    for resample in (False, True):
        without, having = (
            maker(dataset, passes=passes, resample=resample)("bob", 5)
            for passes in (0, 3)
        )
        assert drawn(without)[:2] == drawn(having)[:2]
        assert without.orders.shape == (0, 25)


def passes_of(make_task, client="bob", number=3):
    """Numbers of the records, as each pass goes through them."""
    support, query, orders = drawn(make_task(client, number))
    return [[(support + query)[place] for place in order] for order in orders]


def test_passes_do_not_depend_on_which_records_are_support(dataset):
    wanted = passes_of(maker(dataset, 0.4))
    assert [sorted(order) for order in wanted] == [list(range(START, 25 + START))] * 2
    for other in (
        maker(dataset, 0.2),
        maker(dataset, 0.9),
        maker(dataset, 0.4, resample=True),
    ):
        assert passes_of(other) == wanted
        # though batches of support and query do
        assert drawn(other("bob", 3))[:2] != drawn(maker(dataset)("bob", 3))[:2]
    assert passes_of(maker(dataset, 0.9), number=4) != wanted
    assert passes_of(maker(dataset, 0.9, seed=1)) != wanted


def test_more_passes_begin_with_the_fewer(dataset):
    assert passes_of(maker(dataset, passes=5))[:2] == passes_of(maker(dataset))


CROWD = [f"c{i}" for i in range(50)]


def test_cohorts_by_seed_and_round():
    cohorts = [tuple(sample_cohort(CROWD, 4, 0, number)) for number in range(1, 40)]
    assert cohorts == [tuple(sample_cohort(CROWD, 4, 0, n)) for n in range(1, 40)]
    assert len(set(cohorts)) == len(cohorts)
    assert all(len(set(cohort)) == 4 for cohort in cohorts)
    assert tuple(sample_cohort(CROWD, 4, 1, 1)) != cohorts[0]
    assert set().union(*cohorts) == set(CROWD)  # 39 rounds of 4 meet everyone


def test_a_cohort_may_be_everyone():
    assert sorted(sample_cohort(CROWD, 50, 0, 1)) == sorted(CROWD)


def test_more_clients_a_round_than_there_are():
    with pytest.raises(ValueError) as error:
        sample_cohort(CROWD, 51, 0, 1)
    assert str(error.value) == (
        "clients_per_round is 51, but there are 50 training clients; lower it, or keep"
        " more clients"
    )


def test_an_episode_is_the_beginning_and_the_end_of_a_block(dataset):
    make = maker(dataset, episode=Episode(records=10, support_fraction=0.8))
    starts = set()
    for number in range(150):
        support, query, orders = drawn(make("bob", number))
        assert (len(support), len(query), len(orders[0])) == (8, 2, 10)
        first = min(support)
        assert sorted(support) == list(range(first, first + 8))
        assert sorted(query) == [first + 8, first + 9]
        starts.add(first)
    # any place of the records 1..25 that are used
    assert starts == set(range(START, START + 25 - 10 + 1))


def test_an_episode_takes_at_most_half_of_the_records(dataset):
    episode = Episode(records=500, support_fraction=0.8, sampling="random")
    support, query, _ = drawn(maker(dataset, episode=episode)("bob", 1))
    assert (len(support), len(query)) == episode.size(25) == (9, 3)
    assert max(support) < min(query)
    # and never less than one of each
    assert episode.size(2) == (1, 1)
    assert sorted(sum(drawn(maker(dataset, episode=episode)("cy", 1))[:2], [])) == [
        1,
        2,
    ]


TRAINING = CLIENTS[CLIENTS["client_id"] != "ann"]  # 25 records of bob, 2 of cy
OWNERS = dict(enumerate(SIZES))


def pooled(dataset, records, clients=TRAINING, seed=0, passes=2):
    return pooled_task_maker(
        dataset, clients, ENCODING, records=records, seed=seed, passes=passes
    )


def owned(task):
    """(client, record number) of what is drawn, support first."""
    rows = torch.cat([task.support.x, task.query.x]).int().tolist()
    return [(OWNERS[owner], number) for number, owner in rows]


def test_pooled_records_are_different_ones_of_training_clients(dataset):
    make = pooled(dataset, 9)
    met = set()
    for number in range(60):
        task = make("anyone", number)
        found = owned(task)
        assert (len(task.support.y), len(task.query.y)) == (4, 5)
        assert len(set(found)) == 9
        together = torch.cat([task.support.y, task.query.y]).tolist()
        assert together == [record % 5 for _, record in found]
        orders = task.orders.tolist()
        assert [sorted(order) for order in orders] == [list(range(9))] * 2
        assert orders[0] != orders[1]
        met |= set(found)
    used = {"bob": 25, "cy": 2}  # the first record of each is not used
    assert met == {(c, i) for c, n in used.items() for i in range(START, n + START)}


def test_pooled_tasks_by_key(dataset):
    one_way, other_way = pooled(dataset, 9), pooled(dataset, 9)
    keys = [(client, number) for client in ("x", "y") for number in (1, 2)]
    found = {key: (owned(one_way(*key)), one_way(*key).orders.tolist()) for key in keys}
    again = {
        key: (owned(other_way(*key)), other_way(*key).orders.tolist())
        for key in reversed(keys)
    }
    assert found == again
    draws = [frozenset(records) for records, _ in found.values()]
    draws.append(frozenset(owned(pooled(dataset, 9, seed=1)("x", 1))))
    assert len(set(draws)) == 5


def test_pooled_draws_are_over_records_not_over_clients(dataset):
    rounds, records = 600, 5
    make = pooled(dataset, records, CLIENTS)
    counts = Counter(r for number in range(rounds) for r in owned(make("x", number)))
    share = rounds * records / sum(SIZES.values())
    assert len(counts) == sum(SIZES.values())
    distance = sum((n - share) ** 2 / share for n in counts.values())
    assert distance < 67  # chi-square of 36 degrees of freedom: one in 750 is larger
    # of support and query sets alike: what is drawn is shuffled
    first = Counter(owned(make("x", number))[0][0] for number in range(rounds))
    expected = {name: rounds * n / sum(SIZES.values()) for name, n in SIZES.items()}
    assert all(abs(first[n] - e) < 4 * e**0.5 for n, e in expected.items())


def test_all_pooled_records_at_once(dataset):
    task = pooled(dataset, 27, passes=0)("x", 1)
    assert len(set(owned(task))) == 27
    assert task.orders.shape == (0, 27)
    assert task.orders.dtype == torch.int64


@pytest.mark.parametrize("records", [28, 1])
def test_more_or_fewer_pooled_records_than_can_be(dataset, records):
    with pytest.raises(ValueError) as error:
        pooled(dataset, records)
    assert str(error.value) == (
        f"pooled is {records}; expected at least 2 and at most 27, the records of all"
        " training clients"
    )


def test_a_client_takes_little_memory(tmp_path):
    """What grows with the number of clients: ids, splits, orders, no Python objects."""
    count = 4000

    def clients():
        for number in range(count):
            own = np.arange(5, dtype=np.uint8)
            yield ClientRecords(f"client_{number:07d}", {"pixels": own, "label": own})

    write_packed(tmp_path / "a.arrow", clients(), {})
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    try:
        data = read_packed(tmp_path / "a.arrow")
        table = select_clients(data, min_records=2)
        split = split_clients(table["client_id"].tolist(), [0.8, 0.1, 0.1], 0)
        partition = partition_examples(table, 0.2, 0)
        make_task = task_maker(data, table, partition, ENCODING, seed=0)
        make_task(split["train"][0], 1)
        arrow = pa.total_allocated_bytes() - arrow
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (held + arrow) / count < 300  # 240, of which 70 are the id as a str


def test_clients_of_a_poisson_cohort_are_drawn_independently():
    clients, rounds = [f"c{i}" for i in range(50)], range(1, 4001)
    cohorts = [poisson_cohort(clients, 10, 0, number) for number in rounds]
    assert cohorts == [poisson_cohort(clients, 10, 0, number) for number in rounds]
    sizes = np.array([len(cohort) for cohort in cohorts])
    # Binomial of 50 and 0.2: mean 10, variance 8; five standard errors
    assert sizes.mean() == pytest.approx(10, abs=5 * (8 / 4000) ** 0.5)
    assert sizes.var() == pytest.approx(8, rel=0.12)
    taken = np.array([[c in cohort for c in clients] for cohort in map(set, cohorts)])
    assert np.abs(taken.mean(0) - 0.2).max() < 5 * (0.16 / 4000) ** 0.5
    assert cohorts != [poisson_cohort(clients, 10, 1, number) for number in rounds]


def test_a_poisson_cohort_may_be_empty_or_all():
    clients = ["ann", "bob"]
    sizes = {len(poisson_cohort(clients, 1, 0, number)) for number in range(50)}
    assert sizes == {0, 1, 2}
    assert poisson_cohort(clients, 2, 0, 1) == clients
