"""Top-k hits, by hand."""

import numpy as np
import pytest

from fedmeta.recommenders.ranking import by_slot, top_k_hits

NONE = -np.inf


def test_hits_by_hand():
    scores = np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    hits = top_k_hits(scores, np.array([1, 2, 0]), (1, 2, 3))
    assert hits.tolist() == [
        [True, True, True],
        [False, True, True],
        [False, False, True],
    ]


def test_of_equal_scores_the_first_counts_as_higher():
    equal = np.zeros((3, 3))
    hits = top_k_hits(equal, np.array([0, 1, 2]), (1, 2))
    assert hits.tolist() == [[True, True], [False, True], [False, False]]


def test_what_is_not_recommended_or_not_known_is_never_hit():
    scores = np.array([[-3.0, NONE, NONE], [-3.0, NONE, NONE], [-3.0, 0.0, NONE]])
    hits = top_k_hits(scores, np.array([0, 1, -1]), (1, 4))
    assert hits.tolist() == [[True, True], [False, False], [False, False]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_a_miss(bad):
    scores = np.array([[1.0, 2.0, 3.0]] * 4)
    scores[np.arange(3), np.arange(3)] = bad
    hits = top_k_hits(scores, np.array([0, 0, 2, 2]), (1, 3, 4))
    assert hits.tolist() == [[False] * 3] * 3 + [[True] * 3]


def test_more_recommendations_than_services():
    assert top_k_hits(np.array([[0.0, 1.0]]), np.array([0]), (4,)).tolist() == [[True]]


def test_scores_of_few_classes_go_to_their_slots():
    placed = by_slot(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 2]), 4)
    assert placed.tolist() == [[1.0, NONE, 2.0, NONE], [3.0, NONE, 4.0, NONE]]
