"""Runs in a store of their own: one an algorithm, nothing lost, nothing twice."""

import logging
import shutil
import sqlite3
from pathlib import Path

import pytest
import toy_pipeline as toy
from filelock import FileLock
from held import client, content, files, runs, steps, wait_for_points
from safetensors import safe_open

from fedmeta.core.types import Divergence
from fedmeta.reproduction.runs import Recorded
from fedmeta.tracking.sender import track
from fedmeta.tracking.store import Store
from fedmeta.tracking.uri import tracking_uri

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names")


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
        "beta_history.json",
        "beta_scores.csv",
        "beta_scores.json",
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


def test_a_training_that_diverged_has_failed(project: Path) -> None:
    where = Divergence(4, "b", "update")
    toy.run(project, diverged=where)
    for run in runs(project).values():
        assert run.info.status == "FAILED"
        assert run.data.tags["diverged"] == str(where)
        assert steps(project, run, "cost/bytes_up") == [0, 2]
        assert not [name for name in run.data.metrics if name.startswith("test/")]
    toy.run(project)  # the rates were the same: it was another machine, say
    for run in runs(project).values():
        assert run.info.status == "FINISHED"
        assert "diverged" not in run.data.tags


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
    before = content(project)
    toy.run(project, begin=4)
    assert content(project) == before
    with pytest.raises(ValueError, match="late"):
        toy.run(project, begin=4, fails=ValueError("late"))
    assert content(project) == before


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


def test_training_anew_is_the_same_run(project: Path) -> None:
    toy.run(project)
    with pytest.raises(ValueError, match="late"):
        toy.run(project, fails=ValueError("late"))  # from round 0
    assert runs(project)["alpha"].info.status == "FINISHED"
    toy.run(project)
    assert steps(project, runs(project)["alpha"], "cost/bytes_up") == [0, 2, 4]
    assert steps(project, runs(project)["alpha"], "test/accuracy_after") == [0]


def test_training_anew_with_another_outcome_is_another_run(project: Path) -> None:
    toy.run(project)
    for _ in range(2):
        toy.run(project, worse=1e-9)  # as on another machine
    experiment = client(project).get_experiment_by_name("toy (synthetic demo)")
    listed = client(project).search_runs([experiment.experiment_id])
    assert len(listed) == 4
    assert all(steps(project, run, "cost/bytes_up") == [0, 2, 4] for run in listed)


def test_a_run_that_was_killed_is_ended_by_the_next(project: Path) -> None:
    """Nobody could say that it ended: neither its record nor MLflow."""

    def die(last: int) -> None:
        if last == 4:
            wait_for_points(project, begun)
            raise SystemExit  # told to no hook

    begun = 2
    with pytest.raises(SystemExit):
        toy.run(project, pause=die)
    track(project, print)
    lost = runs(project)["alpha"]
    assert lost.info.status == "KILLED"
    assert "without notice" in lost.data.tags["error"]
    assert steps(project, lost, "cost/bytes_up") == [0, 2]

    begun = 4
    with pytest.raises(SystemExit):
        toy.run(project, pause=die, lr=0.3)
    toy.run(project)  # other options: the one that was killed is not taken up
    experiment = client(project).get_experiment_by_name("toy (synthetic demo)")
    listed = client(project).search_runs([experiment.experiment_id])
    ends = sorted((r.data.params["algorithm.lr"], r.info.status) for r in listed)
    assert ends == [("0.1", "FINISHED")] * 2 + [("0.3", "KILLED")] * 2

    toy.run(project, begin=2, lr=0.3)
    taken_up = client(project).search_runs(
        [experiment.experiment_id], "params.`algorithm.lr` = '0.3'"
    )
    assert [run.info.status for run in taken_up] == ["FINISHED"] * 2
    assert not [run for run in taken_up if "error" in run.data.tags]


def test_everything_is_made_again_from_data(project: Path) -> None:
    toy.run(project)
    toy.run(project, lr=0.2)  # its files take the place of the first one's
    with pytest.raises(ValueError, match="cut"):
        toy.run(project, rounds=6, lr=0.4, fails=ValueError("cut"))
    with pytest.raises(KeyboardInterrupt):
        toy.run(project, lr=0.5, fails=KeyboardInterrupt())
    before = content(project)
    assert len(before) == 8
    assert {run["status"] for run in before.values()} == {
        "FINISHED",
        "FAILED",
        "KILLED",
    }
    (project / "mlflow.db").unlink()
    shutil.rmtree(project / "mlartifacts")
    said = []
    track(project, said.append)
    assert content(project) == before
    assert said[-1].startswith("8 runs") and "8 were not complete" in said[-1]
    track(project, said.append)
    assert content(project) == before
    assert "0 were not complete" in said[-1]


def test_checkpoints_that_were_deleted_are_all_that_is_lost(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy.run(project)
    before = content(project)
    (project / "mlflow.db").unlink()
    for path in (project / toy.RESULTS).glob("alpha*.safetensors"):
        path.unlink()
    track(project, print)
    for run in before.values():
        del run["files"]["parameters.safetensors"]
    assert content(project) == before
    assert "learned by alpha p0.2 s7 are not logged" in caplog.text


def test_what_was_missed_is_logged_by_the_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as trouble:
        trouble.setattr(Store, "_log_values", full)
        toy.run(project)
    warnings = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "disk is full" in warnings[0]
    assert "kedro track logs what is missing" in warnings[0]
    track(project, print)
    tracked = content(project)
    assert {run["status"] for run in tracked.values()} == {"FINISHED"}

    (project / "mlflow.db").unlink()
    shutil.rmtree(project / "mlartifacts")
    toy.run(project, begin=4)  # or by the same command, run again
    assert content(project) == tracked


def test_a_run_under_way_is_left_to_itself(project: Path) -> None:
    toy.run(project)
    (project / "mlflow.db").unlink()
    said = []
    with FileLock(project / toy.RESULTS / "runs" / "alpha.lock"):
        track(project, said.append)
    assert "alpha" in said[0] and "still running" in said[0]
    assert set(runs(project)) == {"beta"}


@pytest.mark.parametrize(
    "name", ["proj_feature%2Fx", "a#b", "what? 1 %", "ü ß", 'it\'s "so"', "[1]"]
)
def test_any_character_in_a_path(
    tmp_path: Path, empty_store: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / name
    project.mkdir()
    shutil.copy(empty_store, project)
    toy.run(project, called=f"{name}.csv")  # the data bear that name, too
    assert set(runs(project, f"toy ({name}.csv)")) == {"alpha", "beta"}
    run = runs(project, f"toy ({name}.csv)")["alpha"]
    assert "parameters.safetensors" in files(project, run)
    recorded = Recorded(tracking_uri(project))
    rows = recorded.runs()
    assert recorded.tables(rows, "scores").keys() == set(rows["run_id"])
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing beside it
