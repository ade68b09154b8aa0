"""The estimators: scikit-learn's conformance checks, and small cases by hand."""

import numpy as np
import pytest
import torch
from sklearn.naive_bayes import CategoricalNB
from sklearn.utils.estimator_checks import parametrize_with_checks

from fedmeta.models.tabular import tabular
from fedmeta.recommenders.most_frequent import MostFrequentlyUsed
from fedmeta.recommenders.most_recent import MostRecentlyUsed
from fedmeta.recommenders.ranking import by_slot, top_k_hits
from fedmeta.recommenders.stepwise import SoftmaxClassifier
from fedmeta.recommenders.together import train_together


# None is expected to fail. Few steps, so that it does not take long.
@parametrize_with_checks(
    [
        MostFrequentlyUsed(),
        MostRecentlyUsed(),
        SoftmaxClassifier(steps=60, learning_rate=0.02),
        SoftmaxClassifier(8, steps=60, learning_rate=0.02),
    ]
)
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


@pytest.mark.parametrize("hidden", [None, 4])
def test_softmax_classifier_is_the_training_together_of_one(hidden):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5)).astype(np.float32)
    y = rng.integers(-1, 3, size=30)
    ours = SoftmaxClassifier(hidden, slots=6, steps=12, random_state=1).fit(x, y)
    seed = np.random.RandomState(1).randint(2**31)
    ((_, _, params),) = train_together(
        {"": (torch.from_numpy(x), torch.from_numpy(y))},
        classes=6,
        hidden=hidden,
        steps=[12],
        seed=seed,
    )
    logits = tabular(5, 6, hidden).apply(params, torch.from_numpy(x))
    expected = logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(ours.predict_proba(x), expected, rtol=1e-4)
    np.testing.assert_allclose(ours.predict_log_proba(x), np.log(expected), rtol=1e-4)
    assert (ours.predict(x) == expected.argmax(axis=1)).all()


def test_softmax_classifier_learns_a_rule():
    x = np.eye(4)[np.arange(80) % 4]
    y = np.array(list("wxyz"))[np.arange(80) % 4]
    linear = SoftmaxClassifier(steps=300, learning_rate=0.05).fit(x, y)
    network = SoftmaxClassifier(16, steps=300, learning_rate=0.05).fit(x, y)
    for fitted in (linear, network):
        assert fitted.score(x, y) == 1
        assert fitted.predict_proba(x).max(axis=1).min() > 0.9


def test_a_class_beyond_the_slots_is_an_error():
    with pytest.raises(ValueError, match=r"0 \.\.\. 2, or -1 .* is 3; "):
        SoftmaxClassifier(slots=3).fit(np.zeros((4, 1)), [0, 3, 8, -1])


def test_naive_bayes_is_scored_by_slot_as_well():
    codes = np.array([[0, 1], [0, 1], [1, 0]])
    bayes = CategoricalNB(alpha=1, min_categories=[2, 2]).fit(codes, [2, 2, 0])
    scores = by_slot(bayes.predict_log_proba(codes), bayes.classes_, 4)
    assert top_k_hits(scores, np.array([2, 2, 0]), (1,)).all()
    assert not top_k_hits(scores, np.array([1, 3, 3]), (4,)).any()
