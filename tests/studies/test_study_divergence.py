"""Studies of which a training diverged: words where its numbers would be."""

import numpy as np
import pandas as pd
import pytest
from study_samples import found, held, html_of, study_history, study_scores, words_in

from fedmeta.reporting.phrases import beats
from fedmeta.reporting.verdicts import DIVERGED
from fedmeta.studies import nustep, perfedavg, personalized, readings
from fedmeta.studies.study import diverged

# What other tests have left open is let go at any time.
pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")

WORDS = "diverged at round 12"
MARK = {"round": 12, "client": "f1234", "cause": "update"}


def marked(table, rows=None):
    table = (table.iloc[:rows] if rows is not None else table).copy()
    table.attrs["diverged"] = MARK
    return table


def lost_scores(right):
    return marked(study_scores(right), rows=0)


def test_two_compared():
    lost = found({"x": ({}, lost_scores({1: [6, 10]}), None)})
    other = found({"y": ({}, None, study_history([0.1]))})
    figures, outcome = beats({"new": lost, "old": other}, epochs=1)
    assert figures == f"new {WORDS}, old –" and outcome.verdict == DIVERGED
    assert diverged(lost) == f"x {WORDS}."


def test_of_several_seeds_it_is_counted():
    lost = found({"x": ({}, lost_scores({1: [6, 10]}), None)})
    fine = found({"x": ({}, study_scores({1: [6, 10]}), None)})
    cells = pd.concat([lost.cells, fine.cells.assign(seed=1)])
    assert fine._replace(cells=cells).diverged == "1 of 2 seeds diverged"


def test_nu_steps(monkeypatch):
    monkeypatch.setattr(nustep, "STEPS", (1, 5))
    healthy = study_scores({1: [5, 5], 5: [6, 6]}), study_history([0.1, 0.5])
    lost = lost_scores({1: [9, 9], 5: [9, 9]}), marked(study_history([0.1, 0.9]))
    cells = {
        f"nu{nu}": (
            {"setting": "skew", "nu_train": nu, "gradient": nustep.EXACT},
            *tables,
        )
        for nu, tables in {1: healthy, 5: lost}.items()
    }
    report = nustep.report(found(cells))
    assert held(report)[:3] == [DIVERGED] * 3
    assert all(WORDS in claim.figures for claim in report.claims[:3])
    for table in report.tables.values():
        row = table.set_index("nu_train").loc[5]
        assert row["training"] == WORDS
        assert row.drop(["setting", "gradient", "source", "training"]).isna().all()
    assert WORDS in words_in(report.figures["accuracy"])
    page = html_of(report)
    assert "a training diverged" in page and WORDS in page
    assert ">held<" not in page and ">not held<" not in page


def test_per_fedavg():
    base, fo, hf, _ = perfedavg.LABELS
    cells = {
        method: (
            {"method": method, "tau": 4},
            study_scores({0: [1, 1], 1: [right] * 2}),
            study_history([0.1, 0.5], norms=[3.0, 1.0]),
        )
        for method, right in {base: 5, fo: 6, hf: 9}.items()
    }
    factors, scores, history = cells[hf]
    cells[hf] = factors, marked(scores, rows=0), marked(history)
    pairs = {"first": ["one-1"], "second": ["five-1"], "label_tv": 0.5, "feature_w1": 1}
    report = perfedavg.report(found(cells), distances=study_history([]).assign(**pairs))
    table = report.tables["results"]
    assert table["training"].tolist() == [f"{hf} {WORDS}"]
    assert table["hf_after"].isna().all()
    assert held(report)[:3] == [DIVERGED] * 3
    assert all(WORDS in claim.figures for claim in report.claims[:3])


def test_personalised_fedavg(monkeypatch):
    monkeypatch.setattr(personalized, "EPOCHS", (1, 2))
    right = study_scores({0: [1, 1], 5: [5, 5]})
    curve = study_history([0.1, 0.5])
    cells = {
        (1, 1): (right, curve),
        (1, 2): (right.copy(), marked(study_history([0.1, 0.9]))),
        (1, "central"): (None, study_history([0.1, 0.4])),
        (2, 1): (study_scores({0: [2, 2], 5: [6, 6]}), None),
        (2, 2): (lost_scores({0: [9, 9], 5: [9, 9]}), None),
    }
    results = found(
        {
            f"{v}_{stage}": ({"variant": str(v), "training_stage": stage}, *tables)
            for (stage, v), tables in cells.items()
        }
    )
    report = personalized.report(results)
    found_held = held(report)
    assert [found_held[i] for i in (1, 2, 4)] == [DIVERGED] * 3
    assert found_held[3] is not DIVERGED
    accuracy, stability = report.tables.values()
    assert f"training stage 2 {WORDS}" in accuracy.set_index("variant")["training"]["2"]
    assert np.isnan(stability.set_index("variant")["initial"]["2"])


def test_readings():
    histories = {name: study_history([0.1, 0.5]) for name in readings.READINGS}
    histories["no_adam"] = marked(study_history([0.1, 0.9]))
    cells = {
        name: (
            readings.EXPERIMENT.variants[name].factors | {"algorithm": algorithm},
            None,
            histories[name],
        )
        for name, (algorithm, *_) in readings.READINGS.items()
    }
    recipes = (
        study_history([])
        .reindex(columns=[])
        .assign(recipe=["adam"], epochs=[1], accuracy=[50.0], support_fraction=[0.2])
    )
    report = readings.report(found(cells), recipes=recipes)
    lost = [c for c in report.claims if c.outcome.verdict == DIVERGED]
    assert len(lost) == 1 and WORDS in lost[0].figures
    table = report.tables["accuracy"].set_index("answer")
    row = table.loc[readings.READINGS["no_adam"][2]]
    assert row["training"] == WORDS and np.isnan(row["after"])
    assert table["training"].notna().sum() == 1
    assert "Nowhere" not in report.summary
    assert WORDS in words_in(report.figures["accuracy"])
