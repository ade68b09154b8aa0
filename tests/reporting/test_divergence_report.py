"""What reports say of a training that diverged: words where its numbers would be."""

import numpy as np
import pytest
from recommendation_report_samples import SIZES, paper_scores, results
from recommendation_report_samples import make_history as episodes
from report_samples import all_figures, found, make_history, make_scores, words_in
from rich.console import Console

from fedmeta.reporting.results import nonfinite
from fedmeta.reporting.shown import printable, shown
from fedmeta.reporting.tables import accuracy_table, fairness_table, overhead_table
from fedmeta.reporting.verdicts import DIVERGED
from fedmeta.studies.comparison import printed, summary
from fedmeta.studies.recommendation import grouped, report_on
from fedmeta.studies.study import diverged

WORDS = "diverged at round 12"
MARK = {"round": 12, "client": "f1234", "cause": "update"}


def marked(table, rows=None):
    table = table.iloc[:rows] if rows is not None else table
    table = table.copy()
    table.attrs["diverged"] = MARK
    return table


@pytest.fixture
def histories():
    # what diverged was the best so far, and had reached the target
    return {
        "FedAvg": make_history([0.1, 0.3, 0.6]),
        "FedMeta(MAML)": marked(make_history([0.1, 0.9])),
    }


@pytest.fixture
def scores():
    return {
        "FedAvg": make_scores([10, 10], [5, 6], [5, 6]),
        "FedMeta(MAML)": marked(make_scores([10, 10], [9, 9], [9, 9]), rows=0),
    }


def test_the_row_has_words_and_no_number(scores, histories):
    results = found(scores, histories)
    accuracy = accuracy_table(results, {"FedMeta(MAML)": 80.0})
    fairness, overhead = fairness_table(results), overhead_table(results, 0.5)
    for table in (accuracy, fairness):
        row = table.set_index("algorithm").loc["FedMeta(MAML)"]
        assert row["training"] == WORDS
        measured = ["micro_after", "loss_after", "gain", "best_validation_accuracy"]
        measured += ["mean", "variance", "worst_tenth"]
        assert row[[n for n in measured if n in row]].isna().all()
        assert table["training"].isna().tolist() == [True, False]
    row = overhead.set_index("algorithm").loc["FedMeta(MAML)"]
    assert row["outcome"] == WORDS
    assert row[["rounds", "bytes_total", "best_accuracy"]].isna().all()
    titles, rows = shown_rows(shown(accuracy))
    told = dict(zip(titles, rows["FedMeta(MAML)"], strict=True))
    assert [told[n] for n in ("Training", "Loss after")] == [WORDS, "not finite"]
    assert summary(accuracy).startswith("After adapting to each test client, FedAvg ")
    assert diverged(results) == f"maml {WORDS}."
    console = Console(width=80, record=True)
    console.print(printable(printed(accuracy), "sample"))
    assert WORDS in console.export_text()


def test_without_divergence_there_is_no_such_column(scores, histories):
    healthy = {"FedAvg": scores["FedAvg"]}
    results = found(healthy, {"FedAvg": histories["FedAvg"]})
    assert "training" not in accuracy_table(results)
    assert "training" not in fairness_table(results)


def test_every_figure_says_so(scores, histories):
    for name, figure in all_figures(histories, scores).items():
        assert WORDS in words_in(figure), name


def test_a_curve_ends_at_its_last_finite_point(histories, scores):
    panel = all_figures(histories, scores)["accuracy"].axes[0]
    ends = [line.get_xdata()[-1] for line in panel.lines if len(line.get_xdata()) > 1]
    assert 10 in ends
    labels = [text.get_text() for text in panel.texts]
    assert f"FedMeta(MAML) {WORDS}" in labels and "FedAvg 60.0%" in labels


def test_a_loss_that_is_not_finite_is_a_gap_and_words(scores):
    history = make_history([0.1, 0.3, 0.6, 0.7])
    history.loc[2:, "validation_loss_after"] = [np.inf, np.nan]
    panel = all_figures({"FedAvg": history}, scores)["loss"].axes[0]
    curve = panel.lines[0].get_ydata()
    assert np.isnan(curve[2:]).all() and np.isfinite(curve[:2]).all()
    assert "FedAvg not finite at round 20 and on" in words_in(panel.figure)


def test_what_learns_nothing_in_rounds_has_no_training_loss(scores, histories):
    alone = make_history([0.5, 0.5]).assign(train_loss=np.nan, client_rounds=8)
    both = {"FedAvg": histories["FedAvg"], "Local training": alone}
    both_scores = {"FedAvg": scores["FedAvg"], "Local training": scores["FedAvg"]}
    watched, training = all_figures(both, both_scores)["loss"].axes[:2]
    shown = [" ".join(t.get_text() for t in axes.texts) for axes in (watched, training)]
    assert ["Local training" in text for text in shown] == [True, False]
    assert all("FedAvg" in text for text in shown)


def test_a_test_loss_that_is_not_finite_is_no_smaller_one(histories):
    table = make_scores([10, 10], [5, 6], [5, 6]).astype({"loss_sum_after": float})
    table.loc[0, "loss_sum_after"] = np.nan
    accuracy = accuracy_table(found({"FedAvg": table}, histories))
    assert np.isnan(accuracy["loss_after"].iloc[0])
    titles, rows = shown_rows(shown(accuracy))
    assert rows["FedAvg"][titles.index("Loss after")] == "not finite"


def shown_rows(table):
    """Headings, and texts by the first of each row."""
    rows = [[cell.text for cell in row] for _, body in table.bodies for row in body]
    return table.titles, {row[0]: row for row in rows}


def test_the_study_of_recommendation():
    scores = paper_scores()
    own, best = "meta_sgd_nn", "Meta-SGD + NN"
    scores[own] = marked(scores[own], rows=0)
    made = results(scores, {own: marked(episodes([0.1], [0.2]))})
    report = report_on(made, SIZES)
    for table in report.tables.values():
        assert table.set_index("id").loc[own, "training"] == WORDS
        titles, rows = shown_rows(grouped(table))
        assert rows[best][titles.index("Training")] == WORDS
    for claim in report.claims:
        lost = claim.outcome.verdict == DIVERGED
        assert lost == (WORDS in claim.figures)
        assert lost >= (best in claim.claim)
    assert diverged(made) == f"{best} {WORDS}."
    for figure in report.figures.values():
        assert WORDS in words_in(figure)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clients_without_a_loss_are_counted(bad):
    whole = make_scores([10, 10], [5, 6], [5, 6])
    lost = whole.assign(loss_sum_after=[2.0, bad])
    stages = whole.assign(loss_sum=[bad, bad], epochs=[1, 2])
    counted = whole.drop(columns=[name for name in whole if "loss" in name])
    tables = {"A": whole, "B": lost, "C": stages, "D": counted, "E": None}
    told = {name: words for name, t in tables.items() if (words := nonfinite(t))}
    first, second = whole["client_id"]
    assert {name: words.partition(": its")[0] for name, words in told.items()} == {
        "B": f"adaptation diverged in 1 of 2 cases, first on client {second}",
        "C": f"adaptation diverged in 2 of 2 cases, first on client {first}",
    }
    assert all(words.endswith("count as errors") for words in told.values())
