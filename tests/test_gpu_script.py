"""The prepared script for a GPU, in its smallest form, on the CPU."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[1]
COMMON = {"seed": 0, "rounds": 4, "synthetic": True, "device": "cpu"}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu  # noqa: PLC0415

    return gpu


@pytest.mark.slow
def test_its_cells_are_those_of_kedro_run(script, new_project, tmp_path):
    project, found = new_project(), tmp_path / "found"
    bootstrap_project(project)
    with KedroSession.create(project, env="smoke") as session:
        session.run(pipeline_names=["femnist_fedavg_meta", "femnist_meta_sgd"])
    packed = tmp_path / "packed.npz"
    script.main(["pack", str(packed), "--env", "smoke", "--project", str(project)])
    script.main(
        ["run", str(packed), str(found), "--device", "cpu", "--minutes", "5"]
        + ["--passes", "1", "--records", "10", "--fractions", "0.2", "--seeds", "1"]
        + ["--tests", "test_backends_agree and maml-one_step and float32"]
    )

    assert "4 passed" in (found / "tests.log").read_text()
    with (found / "rounds.csv").open() as file:
        rounds = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rounds] == [
        *("MAML", "FOMAML", "Meta-SGD", "FedAvg")
    ]
    assert all(float(row["plain_over_float32"]) > 0 for row in rounds)
    cells = pd.read_csv(found / "cells.csv").set_index("algorithm")
    assert list(cells.index) == list(script.COMPARED)
    for name in ("fedavg_meta", "meta_sgd"):
        cell = cells.loc[name]
        assert {key: cell[key] for key in COMMON} == COMMON
        scores = next(project.glob(f"data/07_model_output/**/{name}_scores.csv"))
        sums = pd.read_csv(scores).sum(numeric_only=True)
        for metric in ("accuracy", "loss"):
            wanted = sums[f"{metric}_sum_after"] / sums["num_query"]
            assert cell[metric] == pytest.approx(wanted, abs=2e-5)


def test_a_training_for_which_the_time_is_too_short_leaves_no_row(
    script, new_project, tmp_path
):
    project = new_project()
    bootstrap_project(project)
    with KedroSession.create(project, env="smoke") as session:
        session.run(pipeline_name="femnist_data")
    script.pack(tmp_path / "packed.npz", "smoke", project)
    packed = script.Packed.read(tmp_path / "packed.npz")
    assert not list(script.cells(packed, script.torch.device("cpu"), 4, (0.2,), 1, 0.0))
