import pandas as pd
import pytest
from outcomes import side
from recommendation_report_samples import (
    SIZES,
    halves,
    make_history,
    paper_scores,
    results,
)

from fedmeta.reporting.recommendation import accuracies, rows_of, tabulate
from fedmeta.studies.recommendation import claims, outcome, report_on


@pytest.fixture(scope="module")
def scores():
    """Those of the paper's own Table 3."""
    return paper_scores()


def change(scores, method, steps, **values):
    """The scores with another accuracy in some cells of one row; None: no score."""
    changed = scores[method].copy()
    for name, value in values.items():
        top, _, percent = name.partition("_")
        row = changed["steps"] == steps
        row &= changed["support_fraction"] == int(percent) / 100
        assert row.sum() == 2
        if value is None:
            changed = changed[~row]
        else:
            changed.loc[row, top] = halves(value)
    return {**scores, method: changed}


def judged(scores):
    return [side(claim) for claim in claims(results(scores))]


def verdict(scores, histories={}):
    found = results(scores, histories)
    return outcome(found, tabulate(found, SIZES, accuracies))


def test_all_claims_hold_in_the_paper(scores):
    assert judged(scores) == [True] * 8


# In the order of the claims: Meta-SGD + NN best, better than LR and NN at 100 steps
# (80 %, 5 %), MAML + LR worst, about equal, better than NN at 10,000 steps and MRU,
# MRU's Top-4, MRU the same.
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (("nn", 10_000, {"top1_80": 86.24}), [0]),
        (("unified", 0, {"top4_80": 96.47}), [0]),
        (("lr", 100, {"top1_80": 81.71}), [1]),
        (("nn", 100, {"top4_5": 77.95}), [2]),
        (("maml_lr", 100, {"top1_80": 58.31}), [3]),  # above LR at 100 steps
        (("maml_nn", 100, {"top1_5": 71.97}), [4]),  # 1.01 points below
        (("maml_nn", 100, {"top1_5": 71.99}), []),
        (("mru", 0, {"top1_5": 72.99, "top1_80": 72.99}), [5]),
        (("nn", 10_000, {"top1_5": 73.00}), [5]),
        (("unified", 0, {"top4_5": 81.44}), [6]),
        (("mru", 0, {"top1_80": 70.45}), [7]),
        (("mru", 0, {"top4_80": 81.44}), [7]),
    ],
)
def test_a_claim_fails_with_one_figure(scores, changed, expected):
    method, steps, values = changed
    held = judged(change(scores, method, steps, **values))
    assert [place for place, value in enumerate(held) if value is False] == expected
    assert None not in held


def test_a_tie_beats_nothing(scores):
    assert judged(change(scores, "nb", 0, top1_80=86.23))[0] is False
    assert judged(change(scores, "nb", 0, top4_80=96.46))[0] is False


def test_a_missing_figure_leaves_a_claim_open(scores):
    held = judged(change(scores, "nb", 0, top1_80=None))
    assert held == [None, *[True] * 7]


def test_a_failed_claim_stays_failed_whatever_is_missing(scores):
    changed = change(scores, "nb", 0, top1_80=None)
    assert judged(change(changed, "nn", 10_000, top1_80=99))[0] is False


def test_nothing_is_claimed_at_other_supports_or_steps(scores):
    other = {k: v.replace({"support_fraction": {0.8: 0.5}}) for k, v in scores.items()}
    held = judged(other)
    assert [held[place] for place in (0, 1, 3, 7)] == [None] * 4
    assert [held[place] for place in (2, 4, 5, 6)] == [True] * 4
    fewer = {k: v.replace({"steps": {100: 10}}) for k, v in scores.items()}
    assert judged(fewer) == [None] * 6 + [True, True]


def test_figures_name_the_strongest_opponent(scores):
    figures = claims(results(scores))[0].figures
    assert figures == (
        "Top-1: Meta-SGD + NN 86.23 against MAML + NN 83.87; "
        "Top-4: Meta-SGD + NN 96.46 against MAML + NN 94.88"
    )
    beaten = claims(results(change(scores, "nn", 10_000, top1_80=90)))[0].figures
    assert "Meta-SGD + NN 86.23 against NN at 10,000 steps 90.00" in beaten


def test_steps_are_named_only_where_they_tell_rows_apart(scores):
    names = rows_of(results(scores))
    assert names["nn", 100] == "NN at 100 steps"
    assert names["maml_nn", 100] == "MAML + NN"


class TestVerdict:
    def test_meta_sgd_is_best(self, scores):
        changed = change(scores, "meta_sgd_nn", 100, top1_5=73.5)
        assert verdict(changed) == (
            "With 80 % of a user's records to learn from, Meta-SGD + NN is best: its "
            "first suggestion is right in 86.2 % of cases, one of its first four in "
            "96.5 %. With 5 %, Meta-SGD + NN is best with one suggestion (73.5 % "
            "right) and MRU with four (81.4 %)."
        )

    @pytest.mark.parametrize(
        ("method", "steps", "name", "reason"),
        [
            ("mru", 0, "MRU", "which repeats the last service"),
            ("nb", 0, "NB", "which learns from a user's own records alone"),
            (
                "nn",
                10_000,
                "NN at 10,000 steps",
                "which takes 10,000 steps on a user's own records instead of 100",
            ),
            ("lr", 100, "LR at 100 steps", "a user's own records alone"),
            ("unified", 0, "NN-unified", "all training users' records in one place"),
            ("maml_nn", 100, "MAML + NN", "nothing but algorithm and model"),
        ],
    )
    def test_says_by_how_much_it_is_not_the_best(
        self, scores, method, steps, name, reason
    ):
        text = verdict(change(scores, method, steps, top1_80=90))
        start = f"With 80 %, Meta-SGD + NN is 3.8 points behind {name}, which "
        assert start in text and reason in text

    def test_says_whether_it_was_still_learning(self, scores):
        # the paper's MAML + NN is better with 5 %
        rising = {"meta_sgd_nn": make_history([0.1, 0.5, 0.6], [0.5, 0.8, 0.9])}
        text = verdict(scores, rising)
        assert "last episode evaluated (2,000), so more may help" in text
        falling = {"meta_sgd_nn": make_history([0.1, 0.7, 0.65], [0.5, 0.8, 0.9])}
        text = verdict(scores, falling)
        assert "after episode 1,000 (70.0 %) and 65.0 % at the end" in text

    def test_is_silent_on_training_where_it_is_best(self, scores):
        rising = {"meta_sgd_nn": make_history([0.1, 0.5, 0.6], [0.5, 0.8, 0.9])}
        best = change(scores, "meta_sgd_nn", 100, top1_5=80)
        assert "episode" not in verdict(best, rising)

    def test_nothing_at_all(self):
        assert verdict({}) == "No test user has been evaluated."
        assert judged({}) == [None] * 8

    def test_without_meta_sgd(self, scores):
        others = {k: v for k, v in scores.items() if k != "meta_sgd_nn"}
        assert "behind" not in verdict(others)


def test_three_seeds_that_agree_decide(scores):
    found = claims(results(scores, seeds=range(3)))
    assert {claim.outcome.verdict for claim in found} == {"held"}
    better = results(change(scores, "nn", 10_000, top1_80=90), seeds=range(3))
    assert claims(better)[0].outcome == ("not held", "against", 3)


def test_what_has_no_seed_is_compared_under_every_seed(scores):
    found = results(scores, seeds=range(3))
    alone = found.cells["method"] == "mru"
    one = found.scores[found.scores["method"] == "mru"].query("seed == 0")
    bare = found._replace(
        cells=pd.concat(
            [found.cells[~alone], found.cells[alone][:1].assign(seed=None)]
        ),
        scores=pd.concat(
            [found.scores[found.scores["method"] != "mru"], one.assign(seed=None)]
        ),
    )
    assert report_on(bare, SIZES).claims == report_on(found, SIZES).claims
