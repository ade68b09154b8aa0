"""Means and deviations over seeds, by hand."""

import numpy as np
import pandas as pd
import pytest
from made_up_runs import frame, recorded

from fedmeta.reporting.shown import markdown
from fedmeta.reproduction.tables import (
    accuracies,
    accuracy_cells,
    gains,
    gains_table,
    in_order,
    label_of,
    mean_history,
    paper_gains,
    table2,
)
from fedmeta.reproduction.wording import accuracy_words, before_words


@pytest.fixture
def runs():
    return frame(
        [
            recorded("maml", 0.2, 0, after=0.80, before=0.5),
            recorded("maml", 0.2, 1, after=0.84, before=0.5),
            recorded("fedavg", 0.2, 0, after=0.70, before=0.7),
            recorded("own_idea", 0.2, 0, after=0.60, before=0.1),
        ]
    )


@pytest.fixture
def cells(runs):
    return accuracy_cells(runs)


@pytest.fixture
def table(cells):
    labels = ["FedAvg", "FedMeta(MAML)", "own_idea"]
    paper = {0.2: {"FedAvg": 75.0, "FedMeta(MAML)": 81.0}}
    return table2(cells, labels, [0.2, 0.5], paper, "FEMNIST")


def test_mean_deviation_and_number_of_seeds(table):
    row = table.set_index("algorithm").loc["FedMeta(MAML)"]
    assert row["after_20"] == pytest.approx(82)
    assert row["after_sd_20"] == pytest.approx(np.sqrt(2**2 + 2**2))  # over n - 1
    assert row["n_20"] == 2
    assert row["before_sd_20"] == pytest.approx(0)
    assert (row["paper_20"], row["difference_20"]) == (81, pytest.approx(1))
    assert np.isnan(row["after_50"])
    assert row["n_50"] == 0


def test_one_seed_has_no_deviation(table):
    assert np.isnan(table.set_index("algorithm").loc["FedAvg", "after_sd_20"])


def test_any_algorithm_becomes_a_row():
    assert label_of("own_idea") == "own_idea"
    labels = ["own_idea", "FedMeta(MAML)", "another", "FedAvg"]
    assert in_order(labels) == ["FedAvg", "FedMeta(MAML)", "another", "own_idea"]


def test_words(table):
    shown = accuracy_words(table, [0.2, 0.5])
    assert shown.groups == [("", 1), ("20 % support", 3), ("50 % support", 3)]
    texts = {row[0].text: [cell.text for cell in row[1:]] for row in shown.bodies[0][1]}
    assert texts["FedMeta(MAML)"][:4] == [
        "82.00 ± 2.83 (2)",
        "81.00",
        "+1.00",
        "missing",
    ]
    assert texts["FedAvg"][:3] == ["70.00 (1)", "75.00", "-5.00"]
    assert texts["own_idea"][:3] == ["60.00 (1)", "–", "–"]
    best = [row[0].text for row in shown.bodies[0][1] if row[1].best]
    assert best == ["FedMeta(MAML)"]


def test_without_the_papers_numbers_there_is_no_column_of_them(cells):
    table = table2(cells, ["FedAvg"], [0.2], None, "synthetic sample, not FEMNIST")
    assert accuracy_words(table, [0.2]).titles == ["Algorithm", "ours"]
    assert not [name for name in table if "paper" in name]


def test_markdown(table):
    lines = markdown(before_words(table, [0.2])).splitlines()
    assert lines[:3] == [
        "| Algorithm | 20 % support: before |",
        "| :--- | ---: |",
        "| FedAvg | 70.00 (1) |",
    ]


def test_gains(runs):
    found = accuracies(runs)
    ((key, gain),) = gains(found).items()
    # of the means over all seeds; for a verdict, of the seeds that both have
    assert key == ("FedMeta(MAML)", 0.2) and float(gain) == pytest.approx(12)
    assert gain.by_seed.to_dict() == {0: pytest.approx(10)}
    table = gains_table(found, [0.2], None, "FEMNIST").set_index("algorithm")
    assert table["gain_20"].to_dict() == {
        "FedMeta(MAML)": pytest.approx(12),
        "FedMeta(Meta-SGD)": pytest.approx(np.nan, nan_ok=True),
    }


def test_the_papers_headline_is_the_range_of_its_table():
    # "an increase in accuracy by 3.23%-14.84%": its abstract
    published = paper_gains()
    assert len(published) == 18
    assert min(published) == pytest.approx(3.23)
    assert max(published) == pytest.approx(14.84)


def test_curves_are_averaged_where_all_seeds_were_evaluated():
    one = pd.DataFrame({"round": [0, 10, 20], "loss": [np.nan, 4.0, 1.0]})
    other = pd.DataFrame({"round": [0, 10], "loss": [np.nan, 2.0]})
    mean = mean_history([one, other])
    assert mean["round"].tolist() == [0, 10]
    assert mean["loss"].tolist() == [pytest.approx(np.nan, nan_ok=True), 3.0]
