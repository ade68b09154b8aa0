from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from study_samples import found, held, html_of, study_history, words_in

from fedmeta.studies import readings
from fedmeta.studies.readings import EXPERIMENT, READINGS

# What other tests have left open is let go at any time.
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")

PAPER = {"FedAvg": 76.79, "FedAvg(Meta)": 83.58, "FedMeta(MAML)": 88.46}
PAPER |= {"FedMeta(Meta-SGD)": 89.26}
# After adaptation at the last round; what is not named is at 50 %.
AFTER = {"fedavg": 0.60, "maml": 0.70, "no_adam": 0.55, "on_clients": 0.90}
RECIPES = pd.DataFrame(
    [("adam", 0, 50.0), ("adam", 1, 57.5), ("adam", 5, 60.0), ("sgd", 1, 49.0)],
    columns=["recipe", "epochs", "accuracy"],
).assign(support_fraction=0.2)


class Made(NamedTuple):
    histories: dict[str, Any]
    source: str = "FEMNIST"


@pytest.fixture
def results():
    return Made({name: study_history([0.1, AFTER.get(name, 0.5)]) for name in READINGS})


def report(made):
    cells = {
        name: (EXPERIMENT.variants[name].factors | {"algorithm": algorithm}, None, h)
        for name, (algorithm, *_) in READINGS.items()
        if (h := made.histories.get(name)) is not None
    }
    return readings.report(found(cells, made.source), recipes=RECIPES)


def test_the_papers_numbers_are_the_benchmarks():
    assert EXPERIMENT.clients.benchmark.table2[0.2].items() >= PAPER.items()


def test_a_reading_differs_from_the_one_taken(results):
    table = report(results).tables["accuracy"].assign(name=list(READINGS))
    rows = table.set_index("name")
    assert (rows["rounds"] == 10).all()
    assert rows.loc["maml", ["before", "after"]].tolist() == pytest.approx([35, 70])
    # of its own algorithm, not of another's
    assert rows.loc["no_adam", "against_taken"] == pytest.approx(55 - 70)
    assert rows.loc["fedavg_slow", "against_taken"] == pytest.approx(50 - 60)
    assert rows["against_taken"].isna().sum() == 3
    assert rows.loc["on_clients", "minus_paper"] == pytest.approx(90 - 88.46)
    assert rows.loc["fedavg", "minus_paper"] == pytest.approx(60 - 83.58)


def test_every_question_has_a_reading_that_was_taken():
    assert readings.TAKEN == {
        "fedavg_meta": "fedavg",
        "maml": "maml",
        "meta_sgd": "meta_sgd",
    }
    answers = [(question, answer) for _, question, answer in READINGS.values()]
    assert len(set(answers)) == len(answers)


def test_what_a_recipe_gains_is_against_no_fine_tuning(results):
    table = report(results).tables["recipes"]
    assert table["recipe"].tolist() == ["adam", "adam", "sgd"]
    np.testing.assert_allclose(table["gain"], [7.5, 10.0, -1.0])
    np.testing.assert_allclose(table["paper"], 83.58 - 76.79)


class TestClaims:
    def held(self, results):
        learners = [n for n, (a, *_) in READINGS.items() if a != "fedavg_meta"]
        return dict(zip(learners, held(report(results)), strict=True))

    def test_ahead_of_fine_tuned_fedavg(self, results):
        ahead = self.held(results)
        assert {name for name, yes in ahead.items() if yes} == {"maml", "on_clients"}
        figures = report(results).claims[0].figures
        assert figures == "70.00, FedAvg(Meta) 60.00: +10.00 points (paper +4.88)"

    def test_a_tie_is_not_ahead(self, results):
        results.histories["maml"]["validation_accuracy_after"] = [0.1, 0.6]
        assert self.held(results)["maml"] is False

    def test_what_was_not_trained_is_not_measured(self, results):
        del results.histories["uniform"]
        assert self.held(results)["uniform"] is None
        del results.histories["fedavg"]
        assert set(self.held(results).values()) == {None}


class TestSummary:
    def test_the_best_may_be_the_closest(self, results):
        assert report(results).summary == (
            "After 10 rounds the best reading of FedMeta(MAML) is “MAML: where does "
            "Adam work? On the clients, models averaged (appendix)”: 90.0 % of the "
            "validation clients' query records are classified correctly after "
            "adaptation. Closest to the paper's 88.46 % on test clients after 2,000 "
            "it is as well."
        )

    def test_the_closest_may_be_another(self, results):
        after = results.histories["no_adam"]["validation_accuracy_after"]
        results.histories["no_adam"]["validation_accuracy_after"] = after * 1.61
        assert report(results).summary.endswith(
            "88.46 % on test clients after 2,000 is “MAML: where does Adam work? "
            "Nowhere: SGD (Algorithm 1)”."
        )

    def test_other_data_are_not_set_beside_the_paper(self, results):
        assert "paper" not in report(results._replace(source="sample")).summary


def test_figure(results):
    figure = report(results).figures["accuracy"]
    words = words_in(figure)
    assert "· FEMNIST" in words and "90.00" in words
    assert all(answer in words for _, _, answer in READINGS.values())
    # before adaptation to after it
    (line,) = [
        line
        for line in figure.axes[0].lines
        if list(line.get_ydata()) == [list(READINGS).index("on_clients")] * 2
    ]
    assert list(line.get_xdata()) == pytest.approx([45, 90])
    del results.histories["batches"]
    words_in(report(results).figures["accuracy"])


def test_page(results):
    html = html_of(report(results))
    assert "<td>+20.0</td>" in html and "<td>+6.8</td>" in html
    assert html.count("data:image/svg+xml") == 1
    del results.histories["no_adam"]
    html = html_of(report(results))
    assert ">nan<" not in html and "&lt;NA&gt;" not in html
