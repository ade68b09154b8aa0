"""Real LEAF files through the pipeline: FEMNIST=/folder/of/json pytest -m real_data."""

import contextlib
import os

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.data.federated import read_packed

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not os.environ.get("FEMNIST"), reason="FEMNIST is not given"),
]


@pytest.fixture(scope="module")
def data(new_project):
    """The data folder after a short run of a small model on real writers."""
    project = new_project()
    params = {
        "femnist": {
            "raw": {"folder": os.environ["FEMNIST"]},
            "selection": {"profile": "full", "sampling_fraction": 1.0},
            "model": {"channels": [8, 16], "hidden": 128},
            "training": {"rounds": 60, "evaluate_every": 30},
            "fomaml": {"inner_lr": 0.003, "server": {"lr": 0.003}},
        }
    }
    with contextlib.chdir(project):
        bootstrap_project(project)
        with KedroSession.create(project, env="paper", runtime_params=params) as run:
            run.run(pipeline_name="femnist_fomaml")
    return project / "data"


def test_records_are_leafs(data):
    records = read_packed(data / "02_intermediate/paper/femnist/records.arrow")
    assert records.metadata["synthetic"] == "false"
    # NIST has 19 to 584 records a writer, and white paper is 1
    assert records.num_examples.min() >= 19
    assert records.num_examples.max() <= 585
    columns = [records.columns(client) for client in records.client_ids]
    assert all(c["label"].max() <= 61 for c in columns)
    pixels = sum(c["pixels"].sum(dtype=float) for c in columns)
    mean = pixels / sum(c["pixels"].size for c in columns) / 255
    assert mean == pytest.approx(0.965, abs=0.01)


def test_statistics_stand_beside_the_papers(data):
    table = pd.read_csv(data / "08_reporting/paper/femnist/statistics.csv")
    rows = table.set_index("quantity")
    assert rows.loc["classes", "value"] == rows.loc["classes", "paper"] == 62


def test_a_small_model_learns_real_writing(data):
    folder = data / "07_model_output/paper/femnist/p0.2_seed0"
    history = pd.read_csv(folder / "fomaml_history.csv")
    accuracy = history["validation_accuracy_after"]
    assert accuracy.iloc[-1] > 0.15 > accuracy.iloc[0]
    scores = pd.read_csv(folder / "fomaml_scores.csv")
    assert (scores["correct_after"] <= scores["num_query"]).all()
