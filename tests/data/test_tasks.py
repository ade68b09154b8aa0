"""Tasks and cohorts: drawn by seed, client and round alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.partition import partition_examples
from fedmeta.data.tasks import Episode, sample_cohort, task_maker

SIZES = {"ann": 10, "bob": 25, "cy": 2}
START = 1  # the first record of each is not used


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Records that carry their own number."""
    path = tmp_path_factory.mktemp("packed") / "a.arrow"
    clients = [
        ClientRecords(
            name,
            {
                "pixels": np.arange(n + START, dtype=np.uint8)[:, None],
                "label": np.arange(n + START, dtype=np.uint8) % 5,
            },
        )
        for name, n in SIZES.items()
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


def maker(dataset, fraction=0.4, **options):
    partition = partition_examples(CLIENTS, fraction, 0)
    return task_maker(
        dataset, CLIENTS, partition, examples, **{"seed": 0, "passes": 2} | options
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
