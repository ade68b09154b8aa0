import numpy as np
import pandas as pd
import pytest
from study_samples import study_history, study_html, words_in

from fedmeta.reporting import readings
from fedmeta.reporting.readings import (
    BASELINE,
    FEDAVG,
    MAML,
    META_SGD,
    READINGS,
    TAKEN,
    Results,
)

pytestmark = pytest.mark.filterwarnings("error")

PAPER = {"FedAvg": 76.79, BASELINE: 83.58, MAML: 88.46, META_SGD: 89.26}
# After adaptation at the last round; what is not named is at 50 %.
AFTER = {FEDAVG: 0.60, TAKEN: 0.70, "table4": 0.55, "on_clients": 0.90}
RECIPES = pd.DataFrame(
    [("adam", 0, 50.0), ("adam", 1, 57.5), ("adam", 5, 60.0), ("sgd", 1, 49.0)],
    columns=["recipe", "epochs", "accuracy"],
)


@pytest.fixture
def results():
    histories = {name: study_history([0.1, AFTER.get(name, 0.5)]) for name in READINGS}
    return Results(histories, RECIPES, "FEMNIST", PAPER)


@pytest.fixture
def nothing():
    return Results({}, RECIPES[:0], "sample", {})


def test_a_reading_differs_from_the_one_taken(results):
    table = readings.tables(results)["accuracy"].assign(name=list(READINGS))
    rows = table.set_index("name")
    assert (rows["rounds"] == 10).all()
    assert rows.loc[TAKEN, ["before", "after"]].tolist() == pytest.approx([35, 70])
    # of its own algorithm, not of another's
    assert rows.loc["table4", "against_taken"] == pytest.approx(55 - 70)
    assert rows.loc["fedavg_slow", "against_taken"] == pytest.approx(50 - 60)
    assert rows["against_taken"].isna().sum() == 3
    assert rows.loc["on_clients", "minus_paper"] == pytest.approx(90 - 88.46)
    assert rows.loc[FEDAVG, "minus_paper"] == pytest.approx(60 - 83.58)


def test_every_question_has_a_reading_that_was_taken():
    first = {}
    for name, reading in READINGS.items():
        first.setdefault(reading.algorithm, name)
    assert first == {BASELINE: FEDAVG, MAML: TAKEN, META_SGD: readings.TAKEN_ALPHA}
    answers = [(r.question, r.answer) for r in READINGS.values()]
    assert len(set(answers)) == len(answers)


def test_what_a_recipe_gains_is_against_no_fine_tuning(results):
    table = readings.tables(results)["recipes"]
    assert table["recipe"].tolist() == ["adam", "adam", "sgd"]
    np.testing.assert_allclose(table["gain"], [7.5, 10.0, -1.0])
    np.testing.assert_allclose(table["paper"], 83.58 - 76.79)


class TestClaims:
    def held(self, results):
        learners = [n for n, r in READINGS.items() if r.algorithm != BASELINE]
        found = readings.claims(results)
        return {n: claim.held for n, claim in zip(learners, found, strict=True)}

    def test_ahead_of_fine_tuned_fedavg(self, results):
        held = self.held(results)
        assert {name for name, yes in held.items() if yes} == {TAKEN, "on_clients"}
        figures = readings.claims(results)[0].figures
        assert figures == "70.00, FedAvg(Meta) 60.00: +10.00 points (paper +4.88)"

    def test_a_tie_is_not_ahead(self, results):
        results.histories[TAKEN]["validation_accuracy_after"] = [0.1, 0.6]
        assert self.held(results)[TAKEN] is False

    def test_what_was_not_trained_is_not_measured(self, results, nothing):
        del results.histories["uniform"]
        assert self.held(results)["uniform"] is None
        del results.histories[FEDAVG]
        assert set(self.held(results).values()) == {None}
        assert set(self.held(nothing).values()) == {None}


class TestSummary:
    def test_the_best_may_be_the_closest(self, results):
        assert readings.summary(results) == (
            "After 10 rounds the best reading of FedMeta(MAML) is “MAML: where does "
            "Adam work? On the clients, models averaged (appendix)”: 90.0 % of the "
            "validation clients' query records are classified correctly after "
            "adaptation. Closest to the paper's 88.46 % on test clients after 2,000 "
            "it is as well."
        )

    def test_the_closest_may_be_another(self, results):
        closer = results._replace(paper={**PAPER, MAML: 71.0})
        assert readings.summary(closer).endswith(
            "71.00 % on test clients after 2,000 is “MAML: where does Adam work? On "
            "the server, at ten times Table 4's β”."
        )

    def test_other_data_are_not_set_beside_the_paper(self, results, nothing):
        assert "paper" not in readings.summary(results._replace(paper={}))
        assert readings.summary(nothing) == "No reading has been trained."


def test_figure(results, nothing):
    figure = readings.figures(results)["accuracy"]
    words = words_in(figure)
    assert "· FEMNIST" in words and "90.00" in words
    assert all(reading.answer in words for reading in READINGS.values())
    # before adaptation to after it
    (line,) = [
        line
        for line in figure.axes[0].lines
        if list(line.get_ydata()) == [list(READINGS).index("on_clients")] * 2
    ]
    assert list(line.get_xdata()) == pytest.approx([45, 90])
    del results.histories["batches"]
    words_in(readings.figures(results)["accuracy"])
    assert "no reading has been" in words_in(readings.figures(nothing)["accuracy"])


def test_page(results, nothing):
    html = study_html(readings, results)
    assert "<td>+20.0</td>" in html and "<td>+6.8</td>" in html
    assert html.count("data:image/svg+xml") == 1
    html = study_html(readings, nothing)
    assert ">nan<" not in html and "&lt;NA&gt;" not in html
