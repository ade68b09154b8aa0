"""Two runs at once that write the same files: the second waits for the first."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_pipeline as toy
from held import client, runs, steps, wait_for
from mlflow.tracking import MlflowClient

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names")


def both(*runs: Callable[[], None]) -> None:
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_second_waits_and_says_for_whom(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    began, done = threading.Event(), []

    def first(last: int) -> None:
        if last == 2:
            began.set()
            wait_for(lambda: "Waiting for" in caplog.text)
        done.append(("first", last))

    def run_second() -> None:
        assert began.wait(60)
        toy.run(project, pause=lambda last: done.append(("second", last)))

    both(lambda: toy.run(project, pause=first), run_second)
    assert done == [(who, last) for who in ("first", "second") for last in (0, 2, 4)]
    assert f"Waiting for process {os.getpid()} on " in caplog.text
    for run in runs(project).values():
        assert run.info.status == "FINISHED"
        assert steps(project, run, "cost/bytes_up") == [0, 2, 4]
        assert steps(project, run, "test/accuracy_after") == [0]


@pytest.mark.parametrize(
    "fails", [None, ValueError("no"), KeyboardInterrupt()], ids=repr
)
def test_a_turn_ends_with_the_run(project: Path, fails: BaseException | None) -> None:
    if fails is None:
        toy.run(project)
    else:
        with pytest.raises(type(fails)):
            toy.run(project, fails=fails)
    other = threading.Thread(target=toy.run, args=[project], daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive()


def test_other_places_are_free(project: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mlflow.db").write_bytes((project / "mlflow.db").read_bytes())
    inside = []

    def meanwhile(last: int) -> None:
        if last == 2:
            toy.run(elsewhere, pause=inside.append)

    toy.run(project, pause=meanwhile)
    assert inside == [0, 2, 4]


@pytest.mark.slow
def test_two_equal_commands_at_once(
    new_project: Callable[[], Path], empty_store: Path
) -> None:
    project = new_project()
    (project / "mlflow.db").write_bytes(empty_store.read_bytes())
    command = [sys.executable, "-m", "kedro", "run", "--env", "smoke"]
    command += ["--pipeline", "femnist_maml"]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    started = [
        subprocess.Popen(
            command,
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sum("Waiting for process" in words for words in said) == 1
    held: MlflowClient = client(project)
    everywhere = [e.experiment_id for e in held.search_experiments()]
    (run,) = held.search_runs(everywhere, "tags.algorithm LIKE '%'")
    points = steps(project, run, "validation/accuracy_after")
    assert points == sorted(set(points))
    assert steps(project, run, "test/accuracy_after") == [0]
