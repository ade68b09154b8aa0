from typing import Any, NamedTuple

import numpy as np
import pytest
from study_samples import found, held, html_of, study_history, study_scores, words_in

from fedmeta.reporting.phrases import at_equal_initial
from fedmeta.studies import personalized
from fedmeta.studies.personalized import CENTRAL

# What other tests have left open is let go at any time.
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def two_values_of_e(monkeypatch):
    monkeypatch.setattr(personalized, "EPOCHS", (1, 20))


class Results(NamedTuple):
    scores: dict[int, dict[int | str, Any]]
    histories: dict[int, dict[int | str, Any]]
    source: str


@pytest.fixture
def results():
    """Stage 1 gives 10 points in 5 epochs, stage 2 another 10; central training 5."""
    return Results(
        {
            1: {
                1: study_scores({0: [5, 5], 1: [5, 6], 5: [6, 6]}),
                20: study_scores({0: [6, 6], 1: [6, 7], 5: [7, 7]}),
                CENTRAL: study_scores({0: [7, 7], 1: [7, 7], 5: [7, 8]}),
            },
            2: {
                1: study_scores({0: [6, 6], 1: [6, 7], 5: [7, 7]}),
                20: study_scores({0: [7, 7], 1: [7, 8], 5: [8, 8]}),
            },
        },
        {
            1: {
                1: study_history([0.1, 0.4, 0.6], before=[0.0, 0.3, 0.5]),
                20: study_history([0.1, 0.5, 0.7], before=[0.0, 0.4, 0.6]),
                CENTRAL: study_history([0.1, 0.45, 0.75], before=[0.0, 0.4, 0.7]),
            },
            2: {},
        },
        "sample",
    )


def report(made):
    names = [(stage, v) for stage in (1, 2) for v in (1, 20, CENTRAL)]
    cells = {
        f"{v}_{stage}": (
            {"variant": str(v), "training_stage": stage},
            made.scores.get(stage, {}).get(v),
            made.histories.get(stage, {}).get(v),
        )
        for stage, v in names
    }
    return personalized.report(
        found({k: c for k, c in cells.items() if c[1] is not None or c[2] is not None})
    )


def test_accuracy_table(results):
    table = report(results).tables["accuracy"].set_index("variant")
    assert list(table.index) == ["1", "20", "central"]
    names = [f"stage{stage}_{n}" for stage in (1, 2) for n in (0, 1, 5)]
    assert list(table.columns) == ["source", *names]
    assert table.loc["20", names].tolist() == [60, 65, 70, 70, 75, 80]
    assert table.loc["central", "stage2_0":].isna().all()


def test_stability_is_of_the_last_quarter(results):
    # five evaluations: the last two, 0.6 and 0.8, an sd of 0.2 / sqrt(2)
    history = study_history([0, 0.9, 0.1, 0.6, 0.8], before=[0, 0, 0, 0.5, 0.5])
    histories = {1: {20: history, CENTRAL: history[:1].copy()}}
    table = report(Results({}, histories, "sample")).tables["stability"]
    assert table["evaluations"].tolist() == [2, 1]
    assert table["personalised"].iloc[0] == pytest.approx(100 * 0.2 / 2**0.5)
    assert table["initial"].iloc[0] == 0
    assert table["personalised"].isna().tolist() == [False, True]


class TestEqualInitial:
    def at(self, one, other):
        both = [found({"x": ({}, None, history)}) for history in (one, other)]
        return [float(value) for value in at_equal_initial(*both)]

    def test_is_the_highest_that_both_reach_and_interpolated(self):
        one = study_history([0.1, 0.4, 0.6], before=[0.0, 0.3, 0.5])
        # 0.5 is a third of the way from 0.4 to 0.7
        other = study_history([0.1, 0.45, 0.75], before=[0.0, 0.4, 0.7])
        np.testing.assert_allclose(self.at(one, other), (50, 60, 55))
        np.testing.assert_allclose(self.at(other, one), (50, 55, 60))

    def test_a_curve_that_falls_back_counts_where_it_first_rose(self):
        one = study_history([0.1, 0.6, 0.9], before=[0.0, 0.5, 0.4])
        other = study_history([0.1, 0.7], before=[0.0, 1.0])
        np.testing.assert_allclose(self.at(one, other), (50, 60, 40))

    def test_needs_training_in_both(self):
        one = study_history([0.1, 0.6], before=[0.0, 0.5])
        assert np.isnan(self.at(one[:1].copy(), one)).all()
        worse = study_history([0.1, 0.6], before=[0.2, 0.1])
        assert np.isnan(self.at(one, worse)).all()


class TestClaims:
    # personalised > initial; stage 2 raises initial, personalised; central worse by E
    def test_all_hold(self, results):
        assert held(report(results)) == [True] * 5

    def test_every_e_must_gain(self, results):
        results.scores[1][1] = study_scores({0: [6, 6], 5: [6, 6]})
        assert held(report(results)) == [False, False, True, True, True]
        figures = report(results).claims[0].figures
        assert figures == "E = 1: 60.00 → 60.00; E = 20: 60.00 → 70.00"

    def test_central_training_may_be_as_good(self, results):
        results.histories[1][CENTRAL] = results.histories[1][20]
        assert held(report(results))[3:] == [False, False]
        claim = report(results).claims[4]
        assert claim.figures == "at 60.00 initial: FedAvg(20) 70.00, central 70.00"

    def test_a_missing_variant_is_not_measured(self, results):
        del results.scores[2][20], results.histories[1][CENTRAL]
        assert held(report(results)) == [True, None, None, None, None]
        assert report(results).claims[4].figures == "–"

    def test_one_evaluated_round(self, results):
        once = {1: {v: t[:1] for v, t in results.histories[1].items()}}
        assert held(report(results._replace(histories=once)))[3:] == [None, None]


def test_summary(results):
    assert report(results).summary == (
        "FedAvg(20), then Reptile, personalises best: 80.0 % of the test users' query "
        "records are classified correctly after 5 epochs on a user's own records, "
        "70.0 % before."
    )
    first = results._replace(scores={1: results.scores[1]})
    assert report(first).summary.startswith("Central training personalises best")
    bare = report(results._replace(scores={}))
    assert bare.summary == "No test user has been evaluated."


class TestFigures:
    def test_epochs(self, results):
        figure = report(results).figures["epochs"]
        words = words_in(figure)
        assert "· sample" in words and "stage 2: then Reptile" in words
        assert "FedAvg(20) 80.0%" in words and "central training 75.0%" in words
        lines = figure.axes[0].lines
        assert list(lines[0].get_xdata()) == [0, 1, 5]
        assert list(lines[0].get_ydata()) == [0.5, 0.55, 0.6]
        assert [line.get_linestyle() for line in lines] == ["-", "-", "--"]

    def test_personalised_by_initial(self, results):
        figure = report(results).figures["initial_personalised"]
        words = words_in(figure)
        assert "· sample" in words and "central training" in words
        line, gained = figure.axes[0].lines[0], figure.axes[1].lines[0]
        assert list(line.get_xdata()) == [0.0, 0.3, 0.5]
        assert list(line.get_ydata()) == [0.1, 0.4, 0.6]
        np.testing.assert_allclose(gained.get_ydata(), [0.1, 0.1, 0.1])

    def test_one_round(self, results):
        once = {1: {v: t[:1] for v, t in results.histories[1].items()}}
        for figure in report(results._replace(histories=once)).figures.values():
            words_in(figure)


def test_page(results):
    html = html_of(report(results))
    assert (
        "Stage\N{NO-BREAK SPACE}2, after 5 epochs" in html and "<td>80.0</td>" in html
    )
    assert html.count("data:image/svg+xml") == 2
    assert ">nan<" not in html_of(report(results._replace(scores={})))
