"""Real data through the pipelines, where the environment names some.

FEMNIST=/folder/of/json SHAKESPEARE=/folder/of/text SENT140=/folder/of/csv
USAGE_LOG=/folder/of/csv pytest
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.data.federated import read_packed

pytestmark = pytest.mark.real_data


def given(variable: str) -> str:
    """The folder that a variable names; the test is skipped where it names none."""
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not given")
    return os.environ[variable]


def run(project: Path, pipeline: str, env: str, parameters: dict[str, Any]) -> Path:
    """The data folder after a run."""
    with contextlib.chdir(project):
        bootstrap_project(project)
        with KedroSession.create(project, env=env, runtime_params=parameters) as opened:
            opened.run(pipeline_name=pipeline)
    return project / "data"


@pytest.fixture(scope="module")
def femnist(new_project):
    """The data folder after a short run of a small model on real writers."""
    parameters = {
        "raw": {"folder": given("FEMNIST")},
        "selection": {"profile": "full", "sampling_fraction": 1.0},
        "model": {"channels": [8, 16], "hidden": 128},
        "training": {"rounds": 60, "evaluate_every": 30},
        "fomaml": {"inner_lr": 0.003, "server": {"lr": 0.003}},
    }
    return run(new_project(), "femnist_fomaml", "paper", {"femnist": parameters})


def test_records_are_leafs(femnist):
    records = read_packed(femnist / "02_intermediate/paper/femnist/records.arrow")
    assert records.metadata["synthetic"] == "false"
    # NIST has 19 to 584 records a writer, and white paper is 1
    assert records.num_examples.min() >= 19
    assert records.num_examples.max() <= 585
    columns = [records.columns(client) for client in records.client_ids]
    assert all(c["label"].max() <= 61 for c in columns)
    pixels = sum(c["pixels"].sum(dtype=float) for c in columns)
    mean = pixels / sum(c["pixels"].size for c in columns) / 255
    assert mean == pytest.approx(0.965, abs=0.01)


def test_statistics_stand_beside_the_papers(femnist):
    table = pd.read_csv(femnist / "08_reporting/paper/femnist/statistics.csv")
    rows = table.set_index("quantity")
    assert rows.loc["classes", "value"] == rows.loc["classes", "paper"] == 62


def test_a_small_model_learns_real_writing(femnist):
    folder = femnist / "07_model_output/paper/femnist/p0.2_seed0"
    history = pd.read_csv(folder / "fomaml_history.csv")
    accuracy = history["validation_accuracy_after"]
    assert accuracy.iloc[-1] > 0.15 > accuracy.iloc[0]
    scores = pd.read_csv(folder / "fomaml_scores.csv")
    assert (scores["accuracy_sum_after"] <= scores["num_query"]).all()


def test_real_plays_in_the_papers_setting(new_project):
    """From the text to a report that has the paper's numbers and tells of the leak."""
    parameters = {
        "raw": {"folder": given("SHAKESPEARE")},
        "selection": {"max_records": 5250, "max_clients": 528},
        "partition": {"strategy": "random", "gap": 0},
        "model": {"embedding": 2, "hidden": 4},
        "training": {
            "rounds": 1,
            "clients_per_round": 1,
            "evaluation_clients": 1,
        },
        "fedavg": {"batch_size": 500},
        "fedavg_meta": {"fine_tuning": {"batch_size": 500}},
    }
    data = run(
        new_project(), "shakespeare_fedmeta", "paper", {"shakespeare": parameters}
    )
    home = data / "08_reporting/paper/shakespeare"
    rows = pd.read_csv(home / "statistics.csv").set_index("quantity")
    assert rows.loc["clients", "value"] == 528
    within = ["clients", "samples", "samples_mean", "samples_sd", "classes_max"]
    assert (rows.loc[within, "verdict"] == "within").all()
    accuracy = pd.read_csv(home / "p0.2_seed0/accuracy.csv", index_col="algorithm")
    assert accuracy.loc["FedMeta(MAML)", "paper"] == 46.06
    assert set(accuracy["source"]) == {"Shakespeare"}
    page = (home / "p0.2_seed0/report.html").read_text()
    assert "queries leak into support sets" in page


def test_reviews_are_not_reported_as_sent140(new_project):
    parameters = {
        "raw": {"folder": given("SENT140")},
        "encoding": {"embedding": "trained", "width": 16, "vocabulary": 2000},
        "model": {"hidden": 16, "layers": 1, "dense": None},
        "training": {"rounds": 15, "clients_per_round": 10, "evaluate_every": 15},
    }
    data = run(new_project(), "sent140_fedmeta", "paper", {"sent140": parameters})
    home = data / "08_reporting/paper/sent140"
    rows = pd.read_csv(home / "statistics.csv").set_index("quantity")
    assert rows.loc["clients", "value"] >= 300  # users of 25 texts and more
    assert rows["paper"].isna().all()
    accuracy = pd.read_csv(home / "p0.2_seed0/accuracy.csv")
    assert accuracy["paper"].isna().all()
    assert all(source.endswith("not Sent140") for source in accuracy["source"])
    page = (home / "p0.2_seed0/report.html").read_text()
    assert "trained vectors of 16 numbers" in page
    assert "Real data in the form of Sent140" in page


def test_a_usage_log_is_not_reported_as_the_papers(new_project):
    log = next(Path(given("USAGE_LOG")).glob("*.csv"))
    user, time, service, *_ = pd.read_csv(log, nrows=0).columns
    columns = {"user": user, "time": time, "service": service}
    parameters = {
        "raw": {
            "folder": str(log.parent),
            "sample": None,
            **columns,
            "context": [],
            "event": [],
        },
        "encoding": {"recency": True},
    }
    data = run(
        new_project(),
        "recommendation_fedmeta",
        "smoke",
        {"recommendation": {**parameters, "selection": {"max_clients": 60}}},
    )
    home = data / "08_reporting/smoke/recommendation/p0.2_seed0"
    table = pd.read_csv(home / "table3.csv").set_index(["id", "steps"])
    assert not any(name.startswith("paper") for name in table)
    assert set(table["source"]) == {f"{log.name}, not the paper's usage log"}
    # what one has done most, and what one did last, beats a network of few steps
    for name in ("mfu", "mru"):
        assert table["top1_80"][name, 0] > table["top1_80"]["nn", 20]
    assert table["top1_80"]["mru", 0] == table["top1_5"]["mru", 0]
