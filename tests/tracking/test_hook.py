"""Runs in a store of their own: one an algorithm, nothing lost, nothing twice."""

import logging
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import toy_pipeline as toy
from filelock import FileLock
from held import (
    client,
    content,
    files,
    reports,
    runs,
    search,
    steps,
    wait_for_points,
)
from safetensors import safe_open

from fedmeta.core.types import Divergence
from fedmeta.reproduction.runs import Recorded
from fedmeta.tracking.models import NO_MODEL
from fedmeta.tracking.sender import LIMIT_S, STOP_S, Sender, track
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
        "training.clients_per_round": "2",
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
    }
    learned = client(project).download_artifacts(
        run.info.run_id, "parameters.safetensors", str(project)
    )
    with safe_open(learned, "pt") as file:
        assert list(file.keys()) == ["theta/w"]


def test_what_runs_have_in_common_is_in_a_run_of_its_own(project: Path) -> None:
    toy.run(project)
    (report,) = reports(project)
    assert report.info.run_name == "report p0.2 s7"
    assert files(project, report, "report") == {"report/table.csv"}
    assert not report.data.metrics
    assert report.data.tags["runs"].count("alpha-") == 1
    held = [report, *runs(project).values()]
    assert {run.data.tags["group"] for run in held} == {"demo/toy"}
    toy.run(project, lr=0.2)  # compares other runs, in the same folder
    assert len({run.data.tags["runs"] for run in reports(project)}) == 2
    recorded = Recorded(tracking_uri(project))
    for run in recorded.runs().itertuples():  # each finds the report that it is in
        assert recorded.report(run, "table.csv") is not None
        assert recorded.report(run, "other.csv") is None


def test_a_run_lasts_as_long_as_its_training(project: Path) -> None:
    """Not until the end of the pipeline, and not over the night between two halves."""
    with pytest.raises(ValueError, match="cut"):
        toy.run(project, fails=ValueError("cut"))
    toy.run(project, begin=2)
    for run in (runs(project)[name] for name in ("alpha", "beta")):
        assert run.info.end_time - run.info.start_time == 4 * 90_000
        for metric, values in {
            "cost/training_seconds": [0.0, 180.0, 360.0],
            "cost/seconds_per_round": [90.0, 90.0],
            "cost/evaluation_seconds": [1.0, 1.0, 1.0],
        }.items():
            points = client(project).get_metric_history(run.info.run_id, metric)
            assert [p.value for p in sorted(points, key=lambda p: p.step)] == values
        points = client(project).get_metric_history(run.info.run_id, "cost/bytes_up")
        moments = {p.step: p.timestamp - run.info.start_time for p in points}
        assert moments == {0: 0, 2: 180_000, 4: 360_000}


def test_what_is_evaluated_alone_belongs_to_its_training(project: Path) -> None:
    """Whatever the evaluating node says of rounds and seeds, which is nothing here."""
    toy.run(project)
    before = content(project)
    toy.run(project, nodes=("evaluate_alpha",))
    assert content(project) == before

    (project / "mlflow.db").unlink()
    shutil.rmtree(project / toy.RESULTS / "runs")
    toy.run(project, nodes=("evaluate_alpha",))
    run = runs(project)["alpha"]
    assert run.info.run_name == "alpha p0.2 s7"
    assert [run.data.tags[name] for name in ("seed", "rounds")] == ["7", "4"]


def test_data_sets_are_inputs_with_their_digests(project: Path) -> None:
    toy.run(project)
    for run in (runs(project)[name] for name in ("alpha", "beta")):
        data = {i.dataset.name: i for i in run.inputs.dataset_inputs}
        digests = {name: i.dataset.digest for name, i in data.items()}
        assert digests == {
            "toy.records": "data-checksum",
            "toy.client_split": "split-checksum",
        }
        (tag,) = data["toy.records"].tags
        assert (tag.key, tag.value) == ("mlflow.data.context", "training")
        source = mlflow.data.get_source(data["toy.records"])
        assert source.to_dict() == {"uri": "toy.records"}  # of the project's folder


def test_source_and_commit_are_in_mlflow_s_own_columns(project: Path) -> None:
    for words in ("init -q", "commit -q --allow-empty -m x"):
        identity = ("-c", "user.name=x", "-c", "user.email=x")
        subprocess.run(["git", *identity, *words.split()], cwd=project, check=True)
    toy.run(project)
    tags = runs(project)["alpha"].data.tags
    assert tags["mlflow.source.name"] == "kedro run --pipeline toy"
    assert tags["mlflow.source.type"] == "PROJECT"
    assert len(tags["mlflow.source.git.commit"]) == 40


def test_a_project_that_was_moved_is_tracked_again(project: Path) -> None:
    toy.run(project)
    before = content(project)
    moved = project.rename(project.with_name(f"{project.name} moved"))
    (moved / "mlflow.db").unlink()
    shutil.rmtree(moved / "mlartifacts")
    track(moved, print)
    assert content(moved) == before


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


def test_ctrl_c_while_the_end_waits_loses_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, limits = Sender.finish, []

    def finish(self: Sender, limit: float) -> None:
        limits.append(limit)
        if len(limits) == 1:
            raise KeyboardInterrupt
        genuine(self, limit)

    monkeypatch.setattr(Sender, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        toy.run(project)
    assert limits == [LIMIT_S, STOP_S]
    assert {run.info.status for run in runs(project).values()} == {"FINISHED"}


def test_how_a_run_has_ended_does_not_wait_for_its_files(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped waits ten seconds, and a model may take longer.

    Nor does the next run wait for what has failed for this one.
    """

    def never(*args: object) -> Iterator[None]:
        raise OSError("it takes too long")
        yield

    monkeypatch.setattr(Store, "_log_files", never)
    toy.run(project)
    assert {run.info.status for run in runs(project).values()} == {"FINISHED"}


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
    listed = search(project, "tags.algorithm = 'alpha'")
    asked = {run.data.params["training.rounds"]: run for run in listed}
    assert asked.keys() == {"4", "6"}
    assert len(listed) == 2
    assert steps(project, asked["4"], "cost/bytes_up") == [0, 2, 4]
    # the later one has the earlier one's curves too
    assert steps(project, asked["6"], "cost/bytes_up") == [0, 2, 4, 6]


def test_other_options_are_another_run(project: Path) -> None:
    toy.run(project)
    toy.run(project, lr=0.2)
    assert len(search(project)) == 4


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
    listed = search(project)
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
    listed = search(project)
    ends = sorted((r.data.params["algorithm.lr"], r.info.status) for r in listed)
    assert ends == [("0.1", "FINISHED")] * 2 + [("0.3", "KILLED")] * 2

    toy.run(project, begin=2, lr=0.3)
    taken_up = [r for r in search(project) if r.data.params["algorithm.lr"] == "0.3"]
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
    assert len(before) == 10  # two of them are reports
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
    assert said[-1].startswith("10 runs") and "10 were not complete" in said[-1]
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
        run["files"].pop("parameters.safetensors", None)
        run["tags"].pop(NO_MODEL, None)
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
