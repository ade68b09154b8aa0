from typing import Any, NamedTuple

import numpy as np
import pytest
from study_samples import (
    found,
    held,
    html_of,
    over_seeds,
    study_history,
    study_scores,
    words_in,
)

from fedmeta.studies import nustep

# What other tests have left open is let go at any time.
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")

SKEW = "label skew"
# Of twice 10 records, by nu and number of steps at test; the diagonal is the best.
RIGHT = {
    1: {0: [2, 2], 1: [6, 7], 2: [6, 6], 5: [5, 5]},
    2: {0: [1, 2], 1: [5, 6], 2: [7, 8], 5: [6, 6]},
    5: {0: [0, 1], 1: [4, 5], 2: [6, 7], 5: [8, 9]},
}
AFTER = {1: [0.1, 0.5, 0.6], 2: [0.1, 0.5, 0.7], 5: [0.1, 0.6, 0.8]}

# those about exact gradients; the others are not measured
EXACT_HOLD = [True, True, True, None, None]


@pytest.fixture(autouse=True)
def three_values_of_nu(monkeypatch):
    monkeypatch.setattr(nustep, "STEPS", tuple(RIGHT))


class Results(NamedTuple):
    scores: dict[str, dict[int, Any]]
    histories: dict[str, dict[int, Any]]
    source: str


@pytest.fixture
def results():
    return Results(
        {SKEW: {nu: study_scores(right) for nu, right in RIGHT.items()}},
        {
            SKEW: {
                nu: study_history(after).assign(flops=[0, nu * 10_000, nu * 20_000])
                for nu, after in AFTER.items()
            }
        },
        "sample",
    )


def cells(made):
    names = {(s, nu) for tables in made[:2] for s in tables for nu in tables[s]}
    return found(
        {
            f"{s}.nu{nu}": (
                {"setting": s, "nu_train": nu, "gradient": nustep.EXACT},
                made.scores.get(s, {}).get(nu),
                made.histories.get(s, {}).get(nu),
            )
            for s, nu in sorted(names)
        }
    )


def report(made):
    return nustep.report(cells(made))


def test_accuracy_table(results):
    table = report(results).tables["accuracy"]
    assert table["nu_train"].tolist() == [1, 2, 5]
    names = ["steps_0", "steps_1", "steps_2", "steps_5"]
    expected = [[20, 65, 60, 50], [15, 55, 75, 60], [5, 45, 65, 85]]
    np.testing.assert_allclose(table[names], expected)


def test_rounds_table(results):
    results.histories[SKEW][2]["validation_accuracy_after"] = [0.1, 0.5, 0.55]
    table = report(results).tables["rounds"]
    np.testing.assert_allclose(table["final"], [60, 55, 80])
    assert table["round_reaching"].isna().tolist() == [False, True, False]
    assert table["round_reaching"].dropna().tolist() == [20, 10]
    flops = [results.histories[SKEW][nu].set_index("round")["flops"] for nu in (1, 5)]
    wanted = [flops[0][20], flops[1][10]]
    assert table["flops_reaching"].dropna().tolist() == wanted


class TestClaims:
    # the diagonal; the largest nu against 1; in fewer rounds
    def test_all_hold_in_each_setting(self, results):
        both = Results(
            {**results.scores, "natural writers": results.scores[SKEW]},
            {**results.histories, "natural writers": results.histories[SKEW]},
            "sample",
        )
        assert held(report(both)) == [*EXACT_HOLD, *EXACT_HOLD]
        assert report(both).claims[5].claim.startswith("Natural writers: ")

    def test_another_may_not_be_better_on_the_diagonal(self, results):
        results.scores[SKEW][2] = study_scores({**RIGHT[2], 1: [6, 7]})
        assert held(report(results))[0] is False  # a tie: neither is the best
        results.scores[SKEW][2] = study_scores({**RIGHT[2], 1: [7, 7]})
        assert held(report(results))[0] is False
        figures = report(results).claims[0].figures
        assert "1 step at test: ν = 1 65.00, the best other is ν = 2 70.00" in figures

    def test_compared_at_the_steps_of_the_larger(self, results):
        claim = report(results).claims[1]
        assert claim.claim == "Label skew: with 5 steps at test, ν = 5 beats ν = 1"
        assert claim.figures.startswith("ν = 5 85.00, ν = 1 50.00; difference +35.00")
        results.scores[SKEW][1] = study_scores({**RIGHT[1], 5: [8, 9]})
        assert held(report(results))[1] is False

    def test_rounds_are_those_of_reaching_and_not_the_last(self, results):
        claim = report(results).claims[2]
        assert claim.figures == (
            "60.00 %: ν = 5 round 10 after 50.0 kFLOP, ν = 1 first at round 20 "
            "after 20.0 kFLOP"
        )
        one = results.histories[SKEW][1]
        one["validation_accuracy_after"] = [0.1, 0.6, 0.6]
        assert held(report(results))[2] is False  # both at round 10
        one["validation_accuracy_after"] = [0.1, 0.5, 0.9]
        claim = report(results).claims[2]
        assert held(report(results))[2] is False and "ν = 5 never" in claim.figures

    def test_a_missing_variant_is_not_measured(self, results):
        del results.scores[SKEW][1], results.histories[SKEW][1]
        assert held(report(results)) == [None] * 5

    def test_of_approximated_gradients(self, results):
        whole = cells(results)
        rights = {"exact": [8, 9], "first order": [8, 8], "Hessian-free": [9, 9]}
        made = {
            f"{SKEW}.nu5 {gradient}": (
                {"setting": SKEW, "nu_train": 5, "gradient": gradient},
                study_scores({5: right}),
                study_history([0.1, 0.5]).assign(validation_loss_after=[4.1, loss]),
            )
            for loss, (gradient, right) in enumerate(rights.items(), 1)
        }
        only = nustep.report(found(made))
        assert held(only)[3:] == [True, True]
        assert (
            "exact 85.00, first order 80.00; difference +5.00" in only.claims[3].figures
        )
        assert only.claims[4].figures.startswith(
            "Hessian-free 90.00, first order 80.00"
        )
        rounds = only.tables["rounds"].set_index("gradient")
        assert rounds["meta_loss"].to_dict() == {
            "exact": 1,
            "first order": 2,
            "Hessian-free": 3,
        }
        assert "Hessian-free" in words_in(only.figures["meta_loss"])
        # the table of exact gradients has no part in that
        assert held(nustep.report(whole)) == EXACT_HOLD

    def test_one_evaluated_round(self, results):
        once = {SKEW: {nu: t[:1] for nu, t in results.histories[SKEW].items()}}
        assert held(report(results._replace(histories=once)))[2] is None


def test_summary(results):
    assert report(results).summary == (
        "With label skew, the most accurate is the model trained for 5 steps, "
        "fine-tuned with 5: 85.0 % of the test users' query records are classified "
        "correctly."
    )
    bare = results._replace(scores={})
    assert report(bare).summary == "No test user has been evaluated."


class TestFigures:
    def test_heat_map_shows_every_cell_and_frames_the_diagonal(self, results):
        figure = report(results).figures["heat_map"]
        words = words_in(figure)
        assert "· sample" in words and SKEW in words and "85.0" in words
        panel = figure.axes[0]
        frames = [patch.get_xy() for patch in panel.patches]
        assert frames == [(0.5, -0.5), (1.5, 0.5), (2.5, 1.5)]
        assert len(panel.texts) == 12
        # the scale begins at the worst after a step at least
        assert panel.images[0].norm.vmin == 45 and panel.images[0].norm.vmax == 85

    def test_a_cell_that_was_not_measured_is_blank(self, results):
        short = {n: right for n, right in RIGHT[2].items() if n != 5}
        results.scores[SKEW][2] = study_scores(short)
        figure = report(results).figures["heat_map"]
        assert len(figure.axes[0].texts) == 11
        words_in(figure)

    def test_curves_are_of_the_fewest_and_the_most_steps(self, results):
        figure = report(results).figures["accuracy"]
        words = words_in(figure)
        assert (
            "ν = 1 60.0%" in words and "ν = 5 80.0%" in words and "ν = 2" not in words
        )
        assert list(figure.axes[0].lines[1].get_ydata()) == AFTER[5]

    def test_one_variant_one_round(self):
        one = Results(
            {SKEW: {1: study_scores({0: [1, 1]})}},
            {SKEW: {1: study_history([0.1])}},
            "sample",
        )
        for figure in report(one).figures.values():
            words_in(figure)
        assert held(report(one)) == [None] * 5

    def test_nobody_was_tested(self, results):
        figures = report(results._replace(scores={})).figures
        assert "no test user" in words_in(figures["heat_map"])


def test_page(results):
    html = html_of(report(results))
    assert "<th>1 step</th>" in html and "<td>85.0</td>" in html
    assert "<td>80.0 %</td>" in html and html.count("data:image/svg+xml") == 3
    html = html_of(report(results._replace(scores={})))
    assert ">nan<" not in html and "&lt;NA&gt;" not in html


class TestSeeds:
    def test_three_seeds_that_agree_decide(self, results):
        once = cells(results)
        other = [cells(varied(results, seed)) for seed in (1, 2)]
        three = nustep.report(over_seeds(once, *other))
        outcomes = [claim.outcome for claim in three.claims]
        assert [o.verdict for o in outcomes][:2] == ["held", "held"]
        assert [o.seeds for o in outcomes][:3] == [3, 3, 3]
        assert "95 % interval" in three.claims[1].figures
        row = three.tables["accuracy"].set_index("nu_train").loc[5]
        assert row["steps_5"] == pytest.approx((85 + 90 + 95) / 3)
        assert row["steps_5_sd"] == pytest.approx(5)
        assert "±" in html_of(three)

    def test_a_mean_round_between_two(self, results):
        once = cells(results)
        late = once._replace(histories=once.histories.copy())
        late.histories["round"] += 1
        rounds = nustep.report(over_seeds(once, late)).tables["rounds"]
        own = nustep.report(once).tables["rounds"]["round_reaching"]
        between = (own + 0.5).round().tolist()
        assert rounds["round_reaching"].tolist() == between

    def test_one_seed_decides_nothing(self, results):
        outcomes = [claim.outcome for claim in report(results).claims[:3]]
        assert {o.verdict for o in outcomes} == {"undecided"}
        assert {o.seeds for o in outcomes} == {1}


def varied(results, more):
    """With so many more right among the records of user a at nu = 5."""
    right = {n: [a + more, b] if n == 5 else [a, b] for n, (a, b) in RIGHT[5].items()}
    scores = {SKEW: {**results.scores[SKEW], 5: study_scores(right)}}
    return results._replace(scores=scores)
