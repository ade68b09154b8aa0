import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from study_samples import study_history, study_scores

from fedmeta.reporting.claims import Claim, every, more, number
from fedmeta.reporting.study_page import Section, StudyPage, render_study
from fedmeta.reporting.study_scores import (
    compared,
    curve,
    gain,
    last,
    micro,
    standard_error,
)
from fedmeta.reporting.wording import Column


@pytest.fixture
def page():
    table = pd.DataFrame({"tau": [4], "source": ["sample"], "accuracy": [79.85]})
    return StudyPage(
        benchmark="FEMNIST",
        source="sample",
        synthetic=True,
        stands_in=True,
        figures={"curve": Figure(), "unused": Figure()},
        parameters={"meta": {"tau": 4}},
        notes=["a note"],
        heading="A <study>",
        summary="One is best.",
        claims=[
            Claim("one > two", "one 2; two 1", True),
            Claim("two > one", "two 1", False),
            Claim("three > one", "–", None),
        ],
        sections=[
            Section(
                "Which is best?",
                "Read it so.",
                table=table,
                columns={"accuracy": Column("Accuracy", "{:.1f}!".format)},
            ),
            Section("How fast?", "By round.", figure="curve", caption="It rises."),
            Section("A word", "And nothing else."),
        ],
    )


class TestPage:
    def test_claims_are_held_not_held_or_not_measured(self, page):
        html = render_study(page)
        found = re.findall(r'class="(held|failed|unknown)">([a-z ]+)<', html)
        assert found == [
            ("held", "held"),
            ("failed", "not held"),
            ("unknown", "not measured"),
        ]
        assert "one &gt; two" in html and "one 2<br>two 1" in html

    def test_sections_in_order_with_table_and_figure(self, page):
        html = render_study(page)
        titles = re.findall("<h2>(.*?)</h2>", html)
        assert titles[1:4] == ["Which is best?", "How fast?", "A word"]
        assert "<th>tau</th><th>Accuracy</th></tr>" in html  # the source is left out
        assert "<tr><th>4</th><td>79.8!</td></tr>" in html
        assert html.count("data:image/svg+xml") == 1
        assert "<b>What to see.</b> It rises." in html
        assert html.count("<table>") == 2

    def test_is_self_contained(self, page):
        html = render_study(page)
        addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
        others = {a for a in addresses if not a.startswith("data:")}
        assert others == {"http://127.0.0.1:4141", "http://127.0.0.1:5000"}

    def test_shows_what_every_page_does(self, page):
        html = render_study(page)
        assert "<h1>A &lt;study&gt;</h1>" in html
        assert '<p class="lead">One is best.</p>' in html
        assert "Synthetic sample – not FEMNIST" in html
        assert "meta.tau" in html and "<li>a note</li>" in html

    def test_nothing_at_all(self, page):
        empty = Section("None", "No row.", table=pd.DataFrame({"tau": []}))
        bare = replace(page, claims=[], sections=[empty], figures={})
        assert "<th>tau</th>" in render_study(bare)


def test_more_and_every():
    assert more(2.0, 1.0) is True and more(1.0, 1.0) is False
    assert more(np.nan, 1.0) is None and more(1.0, np.nan) is None
    assert every([True, None]) is None and every([]) is None
    assert every([None, False]) is False and every([True, True]) is True
    assert number(1.234) == "1.23" and number(np.nan) == "–"


class TestScores:
    def test_micro_weighs_users_by_their_records(self):
        scores = study_scores({0: [1, 0, 0], 1: [1, 3, 0]}, [2, 8, 0])
        assert micro(scores, 0) == 10
        assert micro(scores, 1) == 40
        assert np.isnan(micro(scores, 2)) and np.isnan(micro(None, 0))

    def test_standard_error_of_equal_users_is_that_of_their_mean(self):
        # accuracies 20, 40, 90 %: sd of 36.056, over the root of 3
        scores = study_scores({1: [2, 4, 9]}, [10, 10, 10])
        assert standard_error(scores, 1) == pytest.approx(36.0555 / 3**0.5, abs=1e-3)
        assert np.isnan(standard_error(study_scores({1: [2]}, [10]), 1))

    def test_standard_error_of_unequal_users(self):
        # 3 of 5 right; residuals 2 - 3*.6 = .2 and 1 - 2*.6 = -.2; sqrt(2*.08)/5
        scores = study_scores({1: [2, 1]}, [3, 2])
        assert standard_error(scores, 1) == pytest.approx(100 * 0.16**0.5 / 5)

    def test_gain_is_over_the_users_that_both_have(self):
        one = study_scores({1: [6, 9, 0]}, [10, 10, 10])
        other = study_scores({1: [5, 8]}, [10, 10])
        points, error = gain(one, other, 1)
        assert points == pytest.approx(10)
        assert error == pytest.approx(0)  # both users gain the same
        assert np.isnan(gain(one, None, 1)).all()

    def test_compared_in_words(self):
        one, other = study_scores({1: [6, 10]}), study_scores({1: [5, 9]})
        assert compared({"new": one, "old": other}, 1) == (
            "new 80.00, old 70.00; difference +10.00 ± 0.00 points over the same users"
        )
        assert compared({"new": one, "old": None}, 1) == "new 80.00, old –"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_curve_and_last_skip_nothing_once_it_is_measured(bad):
    history = study_history([0.1, 0.5, 0.6], norms=[np.nan, 2.0, bad])
    found = curve(history, "meta_gradient_norm")
    assert found.iloc[0] == 2.0 and np.isnan(found.iloc[1]) and len(found) == 2
    assert np.isnan(last(history, "meta_gradient_norm"))
    assert last(history, "validation_accuracy_after") == 0.6
    assert np.isnan(last(history, "nothing")) and np.isnan(last(None, "nothing"))
