"""Reports of all studies: the page, the rule of verdicts, measures."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from study_samples import found, over_seeds, study_history, study_scores

from fedmeta.reporting.measures import (
    Value,
    accuracy,
    at_end,
    known,
    over_the_same,
    standard_error,
)
from fedmeta.reporting.measures import curve as curve_of
from fedmeta.reporting.phrases import beats, sooner
from fedmeta.reporting.report import DataNote, Report, Section, render
from fedmeta.reporting.shown import markdown, shown
from fedmeta.reporting.verdicts import (
    AGAINST,
    DIVERGED,
    FOR,
    HELD,
    NOT_HELD,
    NOT_MEASURED,
    TIE,
    UNDECIDED,
    Claim,
    Verdict,
    close,
    every,
    greater,
)

DATA = DataNote("FEMNIST", "sample", True, True, {"meta": {"tau": 4}}, ["a note"])


@pytest.fixture
def report():
    table = pd.DataFrame({"tau": [4], "source": ["sample"], "accuracy": [79.85]})
    return Report(
        "A <study>",
        "One is best.",
        {},
        [
            Section("Which is best?", "Read it so.", shown(table)),
            Section(
                "How fast?", "By round.", figures={"curve": (Figure(), "It rises.")}
            ),
            Section("A word", "And nothing else."),
        ],
        [
            Claim("one > two", "one 2; two 1", Verdict(HELD, FOR, 3)),
            Claim("two > one", "two 1", Verdict(UNDECIDED, AGAINST, 1)),
            Claim("three > one", "–", Verdict(NOT_MEASURED)),
        ],
    )


class TestPage:
    def test_claims_have_a_verdict_and_say_what_is_behind_it(self, report):
        html = render(report, DATA)
        found = re.findall(r'class="(held|failed|unknown)">([a-z ]+)<', html)
        assert found == [
            ("held", "held"),
            ("unknown", "undecided"),
            ("unknown", "not measured"),
        ]
        assert "1 seed; figures point against it" in html
        assert "one &gt; two" in html and "one 2<br>two 1" in html

    def test_sections_in_order_with_table_and_figure(self, report):
        html = render(report, DATA)
        titles = re.findall("<h2>(.*?)</h2>", html)
        assert titles[1:4] == ["Which is best?", "How fast?", "A word"]
        assert "<th>τ</th><th>Accuracy</th></tr>" in html  # the source is left out
        assert "<tr><th>4</th><td>79.8 %</td></tr>" in html
        assert html.count("data:image/svg+xml") == 1
        assert "<b>What to see.</b> It" in html
        assert html.count("<table>") == 2

    def test_is_self_contained(self, report):
        addresses = re.findall(r'(?:src|href)="([^"]+)"', render(report, DATA))
        others = {a for a in addresses if not a.startswith("data:")}
        assert others == {"http://127.0.0.1:4141", "http://127.0.0.1:5000"}

    def test_shows_what_every_page_does(self, report):
        html = render(report, DATA)
        assert "<h1>A &lt;study&gt;</h1>" in html
        assert '<p class="lead">One is best.</p>' in html
        assert "Synthetic sample – not FEMNIST" in html
        assert "meta.tau" in html and "<li>a note</li>" in html

    def test_nothing_at_all(self, report):
        empty = Section("None", "No row.", shown(pd.DataFrame({"tau": []})))
        bare = report._replace(claims=[], sections=[empty])
        assert "<th>τ</th>" in render(bare, DATA)


def test_deviations_stand_behind_means_and_the_best_is_marked():
    table = pd.DataFrame({"tau": [4, 10], "after": [60.0, 70.0], "after_sd": [1, 2]})
    text = markdown(shown(table, best=["after"]))
    assert text.splitlines()[0] == "| τ | After |"
    assert text.splitlines()[2:] == [
        "| 4 | 60.0 % ± 1.00 |",
        "| 10 | **70.0 % ± 2.00** |",
    ]


def value(*by_seed):
    return Value(pd.Series(by_seed, dtype=float))


class TestVerdicts:
    """One rule: the t-interval of the differences of the same seeds."""

    def test_seeds_that_agree_decide(self):
        assert greater(value(5, 6, 7), value(1, 2.1, 3)) == (HELD, FOR, 3)
        assert greater(value(1, 2.1, 3), value(5, 6, 7)) == (NOT_HELD, AGAINST, 3)

    def test_an_interval_over_zero_is_undecided(self):
        # differences 1, -1, 3: mean 1, an error of 1.15, 4.30 times that is above 1
        assert greater(value(1, -1, 3), 0) == (UNDECIDED, FOR, 3)

    def test_pairs_are_of_one_seed(self):
        # far apart from seed to seed, but always 1 better
        assert greater(value(11, 51, 91.1), value(10, 50, 90)).verdict == HELD

    def test_seeds_that_one_side_alone_has_contradict_no_verdict(self):
        # always 2 better, but the mean of four is 75, that of three is 72
        one, other = value(72, 72.1, 71.9), value(70, 70, 70, 90)
        assert f"{one - other:+.2f}" == "-3.00"
        assert greater(one, other) == (UNDECIDED, AGAINST, 3)
        assert greater(one - other, 0) == (UNDECIDED, AGAINST, 3)
        assert greater(other, one) == (UNDECIDED, FOR, 3)
        assert greater(one, value(70, 70, 70, 71)) == (HELD, FOR, 3)
        assert close(one, other, 2.5) == (UNDECIDED, AGAINST, 3)
        # without a pair there is a tendency
        apart = value(2) - Value(pd.Series({1: 1.0}))
        assert greater(apart, 0) == (UNDECIDED, FOR, 0)

    def test_fewer_than_three_seeds_decide_nothing(self):
        assert greater(value(9, 9.1), value(1, 1)) == (UNDECIDED, FOR, 2)
        assert greater(known(2), known(1)) == (UNDECIDED, FOR, 1)

    def test_a_tie_is_undecided(self):
        assert greater(value(1, 1, 1), value(1, 1, 1)) == (UNDECIDED, TIE, 3)

    def test_what_is_missing_or_diverged_is_said(self):
        assert greater(known(np.nan), known(1)) == (NOT_MEASURED, "", 0)
        lost = Value(pd.Series(dtype=float), "diverged at round 12")
        assert greater(lost, known(1)).verdict == DIVERGED
        assert f"{lost:.2f}" == f"{lost - 1}" == "diverged at round 12"

    def test_close_is_within_or_beyond(self):
        assert close(value(5, 5.1, 5.2), value(5, 5, 5), 1).verdict == HELD
        assert close(value(8, 8.1, 8.2), value(5, 5, 5), 1).verdict == NOT_HELD
        assert close(known(5), known(5), 0) == (UNDECIDED, FOR, 1)
        assert close(value(5, 5, 5), value(5, 5, 5), 0).verdict == HELD

    def test_all_must_hold(self):
        kinds = (DIVERGED, NOT_HELD, NOT_MEASURED, UNDECIDED, HELD)
        for place, kind in enumerate(kinds):
            found = [Verdict(k, FOR, 3) for k in kinds[place:]]
            assert every(found).verdict == kind
        assert every([]).verdict == NOT_MEASURED
        sides = [Verdict(UNDECIDED, FOR, 3), Verdict(UNDECIDED, AGAINST, 1)]
        assert every(sides) == (UNDECIDED, AGAINST, 1)


def scores_of(*args):
    return found({"x": ({}, study_scores(*args), None)})


class TestMeasures:
    def test_accuracy_weighs_users_by_their_records(self):
        results = scores_of({0: [1, 0, 0], 1: [1, 3, 0]}, [2, 8, 0])
        assert float(accuracy(results, epochs=0)) == 10
        assert float(accuracy(results, epochs=1)) == 40
        assert accuracy(results, epochs=2).missing

    def test_standard_error_of_equal_users_is_that_of_their_mean(self):
        # accuracies 20, 40, 90 %: sd of 36.056, over the root of 3
        error = standard_error(scores_of({1: [2, 4, 9]}, [10, 10, 10]), epochs=1)
        assert float(error) == pytest.approx(36.0555 / 3**0.5, abs=1e-3)
        assert standard_error(scores_of({1: [2]}, [10]), epochs=1).missing

    def test_standard_error_of_unequal_users(self):
        # 3 of 5 right; residuals 2 - 3*.6 = .2 and 1 - 2*.6 = -.2; sqrt(2*.08)/5
        error = standard_error(scores_of({1: [2, 1]}, [3, 2]), epochs=1)
        assert float(error) == pytest.approx(100 * 0.16**0.5 / 5)

    def test_a_gain_is_over_the_users_that_both_have(self):
        one = scores_of({1: [6, 9, 0]}, [10, 10, 10])
        other = scores_of({1: [5, 8]}, [10, 10])
        points, error = over_the_same(one, other, epochs=1)
        assert points == pytest.approx(10)
        assert error == pytest.approx(0)  # both users gain the same

    def test_compared_in_words(self):
        one, other = scores_of({1: [6, 10]}), scores_of({1: [5, 9]})
        assert beats({"new": one, "old": other}, epochs=1)[0] == (
            "new 80.00, old 70.00; difference +10.00 ± 0.00 points over the same users"
        )

    def test_of_a_seed_that_one_side_lacks_nothing_is_said(self):
        fast, slow = (
            found({"x": ({}, None, study_history(after).assign(flops=[0, 2, 4]))})
            for after in ([0.1, 0.6, 0.7], [0.1, 0.3, 0.6])
        )
        both = {"fast": over_seeds(fast, fast, fast), "slow": over_seeds(slow, slow)}
        figures = (
            "60.00 %: fast round 10 after 2 FLOP, slow first at round 20 after 4 FLOP"
        )
        assert sooner(both) == (figures, Verdict(UNDECIDED, FOR, 2))
        both["slow"] = over_seeds(slow, slow, slow)
        assert sooner(both) == (figures, Verdict(HELD, FOR, 3))

    def test_a_value_has_a_number_a_seed(self):
        one = over_seeds(scores_of({1: [6, 10]}), scores_of({1: [5, 9]}))
        assert accuracy(one, epochs=1).by_seed.to_dict() == {0: 80, 1: 70}
        assert f"{accuracy(one, epochs=1)}" == "75.00"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_curve_and_end_skip_nothing_once_it_is_measured(bad):
    history = study_history([0.1, 0.5, 0.6], norms=[np.nan, 2.0, bad])
    curve = curve_of(history, "meta_gradient_norm")
    assert curve.iloc[0] == 2.0 and np.isnan(curve.iloc[1]) and len(curve) == 2
    results = found({"x": ({}, None, history)})
    assert at_end(results, "meta_gradient_norm").missing
    assert float(at_end(results, "validation_accuracy_after")) == 0.6
    assert at_end(results, "nothing").missing
