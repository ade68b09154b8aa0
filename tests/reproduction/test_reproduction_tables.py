"""Means and deviations over seeds, by hand."""

import numpy as np
import pandas as pd
import pytest
from made_up_runs import Store, frame, recorded

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.reporting.measures import mean_history
from fedmeta.reporting.results import Run, tidy
from fedmeta.reporting.shown import markdown
from fedmeta.reporting.wording import label_of
from fedmeta.reproduction.claims import gains, paper_gains
from fedmeta.reproduction.settings import choose
from fedmeta.reproduction.study import read
from fedmeta.reproduction.table2 import (
    accuracies,
    accuracy_cells,
    gain_cells,
    table2_report,
    wide,
)

PAPER = {0.2: {"FedAvg": 75.0, "FedMeta(MAML)": 81.0}}


@pytest.fixture(scope="module")
def results():
    runs = frame(
        [
            recorded("maml", 0.2, 0, after=0.80, before=0.5),
            recorded("maml", 0.2, 1, after=0.84, before=0.5),
            recorded("fedavg", 0.2, 0, after=0.70, before=0.7),
            recorded("own_idea", 0.2, 0, after=0.60, before=0.1),
        ]
    )
    return read(Store(), {"femnist": choose(runs)}).results(BENCHMARKS["femnist"])


def report(results, fractions=(0.2, 0.5), stands_in=False):
    benchmark = BENCHMARKS["femnist"]._replace(table2=PAPER)
    rows = ["fedavg", "maml", "own_idea"]
    return table2_report(results, benchmark, rows, fractions, None, stands_in=stands_in)


@pytest.fixture(scope="module")
def made(results):
    return report(results)


@pytest.fixture
def table(made):
    return made[0].tables["table2"]


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


def test_words(made):
    shown = made[1]["table2"]
    assert label_of("own_idea") == "own_idea"
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


def test_without_the_papers_numbers_there_is_no_column_of_them(results):
    bare, words = report(results, stands_in=True)
    assert list(words["table2"].titles) == ["Algorithm", "ours", "ours"]
    assert not [name for name in bare.tables["table2"] if "paper" in name]


def test_markdown(made):
    lines = markdown(made[1]["before"]).splitlines()
    assert lines[:3] == [
        "| Algorithm | 20 % support: before | 50 % support: before |",
        "| :--- | ---: | ---: |",
        "| FedAvg | 70.00 (1) | missing |",
    ]


def test_gains(results):
    found = accuracies(results)
    ((key, gain),) = gains(found).items()
    # of the means over all seeds; for a verdict, of the seeds that both have
    assert key == ("FedMeta(MAML)", 0.2) and float(gain) == pytest.approx(12)
    assert gain.by_seed.to_dict() == {0: pytest.approx(10)}
    cells = accuracy_cells(results, ["fedavg", "maml"], [0.2], {})
    table = wide(gain_cells(cells), "FEMNIST")
    assert table.set_index("algorithm")["gain_20"].to_dict() == {
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
    curves = [
        {"round": [0, 10, 20], "loss": [np.nan, 4.0, 1.0]},
        {"round": [0, 10], "loss": [np.nan, 2.0]},
    ]
    runs = [
        ("maml", Run({"seed": seed}, history=pd.DataFrame(curve)))
        for seed, curve in enumerate(curves)
    ]
    mean = mean_history(tidy(runs, "sample"))
    assert mean["round"].tolist() == [0, 10]
    assert mean["loss"].tolist() == [pytest.approx(np.nan, nan_ok=True), 3.0]
