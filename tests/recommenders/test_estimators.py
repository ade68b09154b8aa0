"""The estimators: scikit-learn's conformance checks, and small cases by hand."""

import numpy as np
import pytest
from sklearn.naive_bayes import CategoricalNB
from sklearn.utils.estimator_checks import parametrize_with_checks

from fedmeta.recommenders.most_frequent import MostFrequentlyUsed
from fedmeta.recommenders.most_recent import MostRecentlyUsed
from fedmeta.recommenders.ranking import by_slot, top_k_hits


# None is expected to fail.
@parametrize_with_checks([MostFrequentlyUsed(), MostRecentlyUsed()])
def test_conforms(estimator, check):
    check(estimator)


def rows(count):
    return np.zeros((count, 1))


def order(scores):
    """Columns from the best to the worst, -inf left out."""
    return [i for i in np.argsort(-scores, kind="stable") if scores[i] > -np.inf]


def test_most_frequent_first_and_of_equal_ones_the_latest():
    mfu = MostFrequentlyUsed().fit(rows(7), ["b", "c", "a", "c", "b", "d", "d"])
    assert mfu.predict(rows(2)).tolist() == ["d", "d"]
    assert order(mfu.predict_log_proba(rows(1))[0]) == [3, 1, 2, 0]
    # 2 uses and the last of records 0 ... 6: 2 + 7/8. Sum of all: 7 + (3+5+4+7)/8.
    assert mfu.predict_proba(rows(1))[0, 3] == pytest.approx(2.875 / 9.375)


def test_counting_in_parts_is_counting_all():
    services = np.array(["b", "c", "a", "c", "b", "d", "d", "a"])
    whole = MostFrequentlyUsed().fit(rows(8), services)
    parts = MostFrequentlyUsed()
    for part in (services[:2], services[2:5], services[5:]):
        parts.partial_fit(rows(len(part)), part)
    assert parts.classes_.tolist() == whole.classes_.tolist()
    assert parts.counts_.tolist() == [2, 2, 2, 2]
    assert (parts.predict_proba(rows(1)) == whole.predict_proba(rows(1))).all()
    assert whole.fit(rows(1), ["x"]).predict(rows(1)) == ["x"]  # from the beginning


def test_a_service_expected_but_never_used_is_not_recommended():
    mfu = MostFrequentlyUsed().partial_fit(rows(2), [1, 1], classes=[0, 1, 2])
    assert mfu.predict_log_proba(rows(1)).tolist() == [[-np.inf, 0.0, -np.inf]]


def test_the_latest_service_first():
    recent = np.array([[3, 0, 2], [1, -1, -1], [-1, -1, -1]])
    mru = MostRecentlyUsed(slots=4).fit(recent, [0, 0, 0])
    assert mru.predict(recent).tolist() == [3, 1, 0]
    scores = mru.predict_log_proba(recent)
    assert order(scores[0]) == [3, 0, 2]
    assert order(scores[1]) == [1]
    assert (scores[2] == scores[2, 0]).all()
    hits = top_k_hits(scores[:2], np.array([2, 0]), (1, 3))
    assert hits.tolist() == [[False, True], [False, False]]


def test_services_of_the_training_data_where_slots_are_not_given():
    mru = MostRecentlyUsed().fit([[5, 7]], [7])
    assert mru.classes_.tolist() == [7]
    assert mru.predict([[5, 7]]).tolist() == [7]


def test_naive_bayes_is_scored_by_slot_as_well():
    codes = np.array([[0, 1], [0, 1], [1, 0]])
    bayes = CategoricalNB(alpha=1, min_categories=[2, 2]).fit(codes, [2, 2, 0])
    scores = by_slot(bayes.predict_log_proba(codes), bayes.classes_, 4)
    assert top_k_hits(scores, np.array([2, 2, 0]), (1,)).all()
    assert not top_k_hits(scores, np.array([1, 3, 3]), (4,)).any()
