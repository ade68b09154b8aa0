"""Runs in a store of their own: one an algorithm, nothing lost, nothing twice."""

import logging
import shutil
import sqlite3
from pathlib import Path

import pytest
import toy_pipeline as toy
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from safetensors import safe_open

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store takes seconds to make: made once, and copied."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture
def project(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path)
    return tmp_path


def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project}/mlflow.db")


def runs(project: Path, experiment: str = "toy (synthetic demo)") -> dict[str, Run]:
    """By the name of the algorithm; there is one of each."""
    found = client(project).get_experiment_by_name(experiment)
    assert found is not None
    listed = client(project).search_runs([found.experiment_id])
    named = {run.data.tags["algorithm"]: run for run in listed}
    assert len(named) == len(listed)
    return named


def steps(project: Path, run: Run, metric: str) -> list[int]:
    points = client(project).get_metric_history(run.info.run_id, metric)
    return [point.step for point in points]


def files(project: Path, run: Run, folder: str = "") -> set[str]:
    listed = client(project).list_artifacts(run.info.run_id, folder)
    return {file.path for file in listed}


def test_one_run_an_algorithm(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    toy.run(project)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    alpha, beta = (runs(project)[name] for name in ("alpha", "beta"))
    assert [alpha.info.status, beta.info.status] == ["FINISHED", "FINISHED"]
    assert [alpha.info.run_name, beta.info.run_name] == [
        "alpha p0.2 s7",
        "beta p0.2 s7",
    ]

    for run in (alpha, beta):  # beta's history comes from the training it shares
        assert steps(project, run, "validation/accuracy_after") == [0, 2, 4]
        assert steps(project, run, "cost/bytes_up") == [0, 2, 4]
        assert steps(project, run, "train/loss") == [2, 4]  # none before round 1
    assert alpha.data.metrics["train/loss"] == 0.25


def test_final_metrics(project: Path) -> None:
    toy.run(project)
    metrics = runs(project)["alpha"].data.metrics
    assert metrics["test/accuracy_before"] == 20 / 40
    assert metrics["test/accuracy_after"] == 34 / 40
    assert metrics["test/macro_accuracy_after"] == pytest.approx((0.4 + 1.0) / 2)
    assert metrics["test/loss_after"] == 20 / 40
    assert metrics["test/share_made_worse"] == 1 / 2


def test_tags_say_what_a_run_is(project: Path) -> None:
    toy.run(project)
    tags = runs(project)["beta"].data.tags
    expected = {
        "benchmark": "toy",
        "algorithm": "beta",
        "support_fraction": "0.2",
        "seed": "7",
        "data_checksum": "data-checksum",
        "split_checksum": "split-checksum",
        "source": "synthetic",
        "store": "demo",
        "kedro_pipeline": "toy",
        "kedro_env": "local",
    }
    assert {key: tags[key] for key in expected} == expected


def test_parameters_are_flat_and_of_one_algorithm(project: Path) -> None:
    toy.run(project)
    shared = {
        "partition.support_fraction": "0.2",
        "training.rounds": "4",
        "training.seed": "7",
        "training.device": "cpu",
        "algorithm.lr": "0.1",
        "algorithm.server.name": "sgd",
    }
    assert runs(project)["alpha"].data.params == shared
    assert runs(project)["beta"].data.params == {**shared, "algorithm.steps": "2"}


def test_artifacts(project: Path) -> None:
    toy.run(project)
    run = runs(project)["beta"]
    assert files(project, run) == {
        "beta_history.csv",
        "beta_scores.csv",
        "parameters.safetensors",
        "report",
    }
    assert files(project, run, "report") == {"report/table.csv"}
    learned = client(project).download_artifacts(
        run.info.run_id, "parameters.safetensors", str(project)
    )
    with safe_open(learned, "pt") as file:
        assert list(file.keys()) == ["theta/w"]


def test_synthetic_data_never_go_under_the_real_name(project: Path) -> None:
    toy.run(project)
    assert client(project).get_experiment_by_name("toy") is None
    toy.run(project, synthetic=False)
    assert set(runs(project, "toy")) == {"alpha", "beta"}
    assert runs(project, "toy")["alpha"].data.tags["source"] == "real"


def test_an_error_marks_the_runs(project: Path) -> None:
    with pytest.raises(ValueError, match="no more"):
        toy.run(project, fails=ValueError("no more\ndata"))
    run = runs(project)["alpha"]
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ValueError: no more data"
    assert steps(project, run, "cost/bytes_up") == [0, 2]  # seen while it ran


def test_ctrl_c_marks_the_runs(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        toy.run(project, fails=KeyboardInterrupt())
    assert {run.info.status for run in runs(project).values()} == {"KILLED"}


def test_resuming_goes_on_with_the_same_run(project: Path) -> None:
    with pytest.raises(ValueError, match="cut"):
        toy.run(project, fails=ValueError("cut"))
    before = runs(project)
    toy.run(project, begin=2, device="cuda")
    after = runs(project)
    for name in ("alpha", "beta"):
        assert after[name].info.run_id == before[name].info.run_id
        assert after[name].info.status == "FINISHED"
        assert "error" not in after[name].data.tags
        assert steps(project, after[name], "cost/bytes_up") == [0, 2, 4]


def test_running_again_adds_nothing_and_harms_nothing(project: Path) -> None:
    toy.run(project)
    toy.run(project, begin=4)
    with pytest.raises(ValueError, match="late"):
        toy.run(project, begin=4, fails=ValueError("late"))
    run = runs(project)["alpha"]
    assert run.info.status == "FINISHED"
    assert steps(project, run, "cost/bytes_up") == [0, 2, 4]


def test_other_rounds_are_another_run(project: Path) -> None:
    """MLflow would keep the number of rounds that was asked for first."""
    toy.run(project)
    toy.run(project, begin=2, rounds=6)
    found = client(project).get_experiment_by_name("toy (synthetic demo)")
    listed = client(project).search_runs(
        [found.experiment_id], "tags.algorithm = 'alpha'"
    )
    asked = {run.data.params["training.rounds"]: run for run in listed}
    assert asked.keys() == {"4", "6"}
    assert len(listed) == 2
    assert steps(project, asked["4"], "cost/bytes_up") == [0, 2, 4]
    # the later one has the earlier one's curves too
    assert steps(project, asked["6"], "cost/bytes_up") == [0, 2, 4, 6]


def test_other_options_are_another_run(project: Path) -> None:
    toy.run(project)
    toy.run(project, lr=0.2)
    experiment = client(project).get_experiment_by_name("toy (synthetic demo)")
    assert len(client(project).search_runs([experiment.experiment_id])) == 4


def test_training_anew_is_another_run(project: Path) -> None:
    toy.run(project)
    toy.run(project)  # from round 0: the checkpoint is gone
    experiment = client(project).get_experiment_by_name("toy (synthetic demo)")
    listed = client(project).search_runs([experiment.experiment_id])
    assert len(listed) == 4
    assert all(steps(project, run, "cost/bytes_up") == [0, 2, 4] for run in listed)


def test_trouble_with_mlflow_costs_no_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    (project / "mlflow.db").write_bytes(b"no database at all" * 100)
    with caplog.at_level(logging.WARNING):
        toy.run(project)
    warnings = [r.message for r in caplog.records if r.name.startswith("fedmeta")]
    assert len(warnings) == 1
    assert "Tracking in sqlite:" in warnings[0]
    assert (project / "table.csv").is_file()  # the pipeline came to its end


def test_what_was_missed_is_logged_by_the_next_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fedmeta.tracking.store import Run as Tracked  # noqa: PLC0415

    def full(*args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as trouble:
        trouble.setattr(Tracked, "log_final", full)
        toy.run(project)
    assert "disk is full" in caplog.text
    assert "test/accuracy_after" not in runs(project)["alpha"].data.metrics
    toy.run(project, begin=4)
    assert runs(project)["alpha"].info.status == "FINISHED"
    assert "test/accuracy_after" in runs(project)["alpha"].data.metrics
