"""Intervals over clients, on so few that all resamples can be written down."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike
from pytest import approx

from fedmeta.reporting.bootstrap import draws, first_reaching, interval


def test_every_resample_has_as_many_clients_and_all_are_alike() -> None:
    drawn = draws(3)
    assert (drawn.sum(1) == 3).all()
    assert drawn.mean(0) == approx([1, 1, 1], abs=0.05)
    np.testing.assert_array_equal(drawn, draws(3))  # at every time the same


def sums(right: ArrayLike, records: ArrayLike) -> pd.DataFrame:
    return pd.DataFrame({"accuracy_sum": right, "num_query": records})


def test_two_clients_by_hand() -> None:
    """Resamples aa, ab, ba, bb: of 10 and 30 records, 5 and 30 right."""
    ends = interval(sums([5.0, 30.0], [10.0, 30.0]))
    assert ends == {"_low": approx(5 / 10), "_high": approx(30 / 30)}


def test_many_equal_records_come_near_the_normal_interval() -> None:
    """Mean of 400 clients, half 0 and half 1: 0.5 +- 1.96 * 0.5 / 20."""
    ends = interval(sums(np.arange(400) % 2, np.ones(400)))
    assert list(ends.values()) == approx([0.5 - 0.049, 0.5 + 0.049], abs=0.004)


@pytest.mark.parametrize("clients", [0, 1])
def test_one_client_has_no_interval(clients: int) -> None:
    assert np.isnan(
        [*interval(sums(np.ones(clients), np.ones(clients))).values()]
    ).all()


def scores(rows: list[tuple[int, str, float]]) -> pd.DataFrame:
    columns = ["round", "client_id", "accuracy_sum_after"]
    return pd.DataFrame(rows, columns=columns).assign(num_query=10)


def test_never_in_more_than_half_of_the_resamples_is_never() -> None:
    """All three reach 60 % together at round 5; two of one kind seldom do."""
    table = scores(
        [(0, c, 0) for c in "abc"] + [(5, "a", 10), (5, "b", 4), (5, "c", 4)]
    )
    found = first_reaching(table, np.array([0.0, 0.5, 0.6, 0.7]))
    assert found[""].tolist()[:3] == [0, 5, 5]
    assert np.isnan(found[""][3])
    # of 27 resamples 8 lack the first client: 40 %, so the upper end is never reached
    assert found["_low"].tolist()[:3] == [0, 5, 5]
    assert np.isnan(found["_high"]).tolist() == [False, True, True, True]
    # reached by all clients together, but by 7 of 27 resamples: two of the first
    rare = scores([(5, "a", 10), (5, "b", 4), (5, "c", 4)])
    assert np.isnan(first_reaching(rare, np.array([0.61]))[""]).all()


def test_clients_who_were_not_watched_at_an_evaluation_do_not_count() -> None:
    table = scores([(0, "a", 2), (0, "b", 2), (5, "a", 8)])
    found = first_reaching(table, np.array([0.8]))
    assert found[""].tolist() == [5]
    assert found["_low"].tolist() == [5]
