"""A training that diverged is named by `kedro reproduce`, and averaged by nothing."""

import re

import numpy as np
import pytest
from made_up_runs import LEVELS, Store, frame, history, recorded, table2_of

from fedmeta.core.types import Divergence
from fedmeta.reporting.measures import mean_history
from fedmeta.reporting.results import Run, tidy
from fedmeta.reporting.verdicts import DIVERGED
from fedmeta.reproduction.claims import headline
from fedmeta.reproduction.report import TABLE2, TABLE3, _belongs, html

LOST = ("maml", 0.2, 1)
WHERE = str(Divergence(150, "f1234", "update"))
WORDS = "1 of 3 seeds diverged"


@pytest.fixture(scope="module")
def runs():
    rows = [
        recorded(name, p, seed, after=high, before=low)
        for name, (high, low) in LEVELS.items()
        for p in (0.2, 0.5)
        for seed in (0, 1, 2)
        if (name, p, seed) != LOST
    ]
    lost = recorded(*LOST, metrics={}, status="FAILED", diverged=WHERE)
    return frame([*rows, lost])


@pytest.fixture(scope="module")
def study(runs):
    return table2_of(runs, target=0.5)


def test_the_cell_says_so_and_has_no_mean(study):
    table = study.report.tables["table2"].set_index("algorithm")
    row = table.loc["FedMeta(MAML)"]
    assert row[["after_20", "after_sd_20", "before_20"]].isna().all()
    assert row[["n_20", "diverged_20", "diverged_50"]].tolist() == [3, 1, 0]
    assert row["after_50"] == pytest.approx(88)
    assert table["diverged_20"].sum() == 1
    words = [cell.text for row in study.shown["table2"].bodies[0][1] for cell in row]
    assert words.count(WORDS) == 1
    assert not any("FedMeta(MAML)" in fills for fills, _ in study.missing)


def test_the_page_names_the_cell(study):
    text = " ".join(re.sub(r"<[^>]+>", " ", html([study])).split())
    assert f"FedMeta(MAML), 20 % support, seed 1: {WHERE}" in text
    assert "(a) FedMeta is above FedAvg at 20 % and 50 % a training diverged" in text


def test_no_claim_about_it_is_held_or_not(study):
    about = [c for c in study.report.claims if "MAML" in c.figures]
    assert [c.claim[:3] for c in about] == [f"({letter})" for letter in "acdefghij"]
    assert {c.outcome.verdict for c in about} == {DIVERGED}
    assert all(
        f"FedMeta(MAML) {WORDS}" in c.figures for c in about if c.claim[1] not in "ce"
    )
    cost = study.report.tables["overhead"].set_index(["algorithm", "support_fraction"])
    assert cost.loc[("FedMeta(MAML)", 0.2), "outcome"] == WORDS
    text = headline("x", study.gains, [1.0, 2.0])
    assert "over 3 cells" in text and "of 1 more, a training diverged" in text


def test_no_curve_and_no_hump_is_of_the_other_seeds_alone(study):
    accuracy, density = (
        study.report.figures[name].axes[0] for name in ("accuracy", "density")
    )
    ends = [
        line.get_xdata()[-1] for line in accuracy.lines if line.get_linewidth() == 2
    ]
    assert sorted(ends) == [100, 2000, 2000, 2000, 2000]
    assert f"FedMeta(MAML) {WORDS}" in [text.get_text() for text in accuracy.texts]
    drawn = [line for line in density.lines if len(line.get_xdata())]
    assert len(drawn) == 2 * 4  # a hump and a triangle each


def test_runs_without_files_are_no_others_mean(runs):
    class Empty(Store):
        def table(self, run, path):
            return None if run.diverged else super().table(run, path)

    study = table2_of(runs, target=0.5, store=Empty())
    cost = study.report.tables["overhead"].set_index(["algorithm", "support_fraction"])
    assert cost.loc[("FedMeta(MAML)", 0.2), "outcome"] == WORDS


def test_which_table_it_would_be_in(runs):
    (lost,) = runs[runs["diverged"] != ""].itertuples()
    assert _belongs(lost, TABLE2) and not _belongs(lost, TABLE3)
    recommender = lost._replace(algorithm="maml_nn")
    assert _belongs(recommender, TABLE3) and not _belongs(recommender, TABLE2)


def test_a_mean_over_seeds_skips_nothing():
    tables = [history("maml", seed, 200) for seed in (0, 1)]
    tables[1].loc[1, "validation_loss_after"] = np.nan
    cells = [("maml", Run({"seed": s}, history=t)) for s, t in enumerate(tables)]
    mean = mean_history(tidy(cells, "sample"))
    assert mean["validation_loss_after"].isna().tolist() == [False, True, False]
