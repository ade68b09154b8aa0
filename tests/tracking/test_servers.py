"""Servers that are absent, silent, slow or dying: what they cost, what gets lost."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow.server
import pytest
import toy_pipeline as toy
from held import content, runs, steps, wait_for, wait_for_points
from mlflow.server import constants, handlers
from mlflow.tracking import MlflowClient
from werkzeug.serving import make_server

from fedmeta.data.errors import DataError
from fedmeta.reproduction.runs import Recorded
from fedmeta.tracking import sender
from fedmeta.tracking.database import IMPATIENT
from fedmeta.tracking.sender import Sender, track

pytestmark = pytest.mark.filterwarnings("ignore")

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
COST_S = 10.0  # that a run may lose in all
LOST_S = 6.0
NOTHING = "?"  # ends no path


class Server:
    """MLflow's own, in a thread, that can fall silent or be ended."""

    def __init__(self, port: int = 0) -> None:
        self._awake, self._ended, self.loses = threading.Event(), False, NOTHING
        self._awake.set()
        self._server = make_server("127.0.0.1", port, self._answer, threaded=True)
        self.port = self._server.port
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict, start: Callable) -> object:
        self._awake.wait()
        if self._ended:
            raise ConnectionError
        answer = mlflow.server.app(environ, start)
        if environ["PATH_INFO"].endswith(self.loses):
            self.loses = NOTHING
            time.sleep(LOST_S)
        return answer

    def fall_silent(self) -> None:
        self._awake.clear()

    def end(self) -> None:
        self._ended = True
        self._awake.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name, value in {
        constants.BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{project}/mlflow.db",
        constants.ARTIFACT_ROOT_ENV_VAR: (project / "served").as_uri(),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handlers, "_tracking_store", None)
    # Its first request would set this process's URI, tests' clients included.
    monkeypatch.setattr(handlers.utils, "set_tracking_uri", lambda uri: None)
    started = Server()
    uri = f"http://127.0.0.1:{started.port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    MlflowClient(uri).search_runs(["0"])  # the first takes it long
    yield started
    started.end()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each run waited for MLflow at its end."""
    found, genuine = [], Sender.finish

    def finish(self: Sender, limit: float) -> None:
        began = time.monotonic()
        genuine(self, limit)
        found.append(time.monotonic() - began)

    monkeypatch.setattr(Sender, "finish", finish)
    monkeypatch.setattr(Sender, "_silent", set())
    return found


def warned(caplog: pytest.LogCaptureFixture) -> str:
    told = [r for r in caplog.records if r.levelno >= logging.WARNING]
    (only,) = [r for r in told if r.name != "werkzeug"]  # that is the server
    assert "\n" not in only.message
    assert "kedro track logs what is missing" in only.message
    return only.message


def test_a_server_is_told_of_everything(
    project: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMEOUT, "60")
    monkeypatch.setattr(sender, "SILENCE_S", 60)
    toy.run(project)
    told = content(project)
    assert {run["status"] for run in told.values()} == {"FINISHED"}
    toy.run(project, begin=4)
    assert content(project) == told


def test_an_absent_server(
    project: Path,
    server: Server,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.end()
    toy.run(project)
    assert waits[0] < COST_S
    assert "no server answers there" in warned(caplog)
    with pytest.raises(DataError, match="no server answers there"):
        track(project, print)
    with pytest.raises(DataError, match="no server answers there"):
        Recorded(f"http://127.0.0.1:{server.port}")


def test_a_silent_server(
    project: Path,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    evaluated = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        toy.run(project, pause=lambda last: evaluated.append(time.monotonic()))
        toy.run(project, begin=4)
    assert waits[0] < COST_S
    assert waits[1] < COST_S / 2  # as the cells of a sweep do
    assert evaluated[-1] - evaluated[0] < COST_S / 2  # the training did not wait
    for record in caplog.records:
        assert "answer" in record.message
    assert len(caplog.records) == 2  # a run each
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    track(project, print)
    assert len(content(project)) == 3  # two trainings and their report


@pytest.mark.parametrize(
    "how", ["end", pytest.param("fall_silent", marks=pytest.mark.slow)]
)
def test_a_server_that_dies_in_mid_run(
    project: Path,
    server: Server,
    how: str,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def pause(last: int) -> None:
        if last == 4:
            wait_for_points(project)
            monkeypatch.setenv(TIMEOUT, IMPATIENT[TIMEOUT])
            getattr(server, how)()

    monkeypatch.setenv(TIMEOUT, "60")  # a slow machine is no dead server
    toy.run(project, pause=pause)
    assert waits[0] < COST_S
    warned(caplog)
    server.end()
    again = Server()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{again.port}")
    monkeypatch.setenv(TIMEOUT, "60")
    held = content(project)
    assert {run["status"] for run in held.values()} == {"RUNNING"}
    assert all(run["metrics"]["cost/bytes_up"] for run in held.values())
    track(project, print)
    held = content(project)
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    for run in runs(project).values():
        assert steps(project, run, "cost/bytes_up") == [0, 2, 4]
    again.end()


def test_a_server_that_comes_late(
    project: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.end()
    later = []

    def pause(last: int) -> None:
        if last == 4:
            wait_for(lambda: "no server answers there" in caplog.text)
            later.append(Server(server.port))

    with caplog.at_level(logging.INFO):
        toy.run(project, pause=pause)
    assert "no server answers there" in warned(caplog)
    assert "answers again: all is logged" in caplog.text
    assert {run["status"] for run in content(project).values()} == {"FINISHED"}
    later[0].end()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["runs/log-batch", "runs/create"])
def test_an_answer_that_is_lost_doubles_nothing(
    project: Path, server: Server, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMEOUT, "3")  # the user's counts

    def pause(last: int) -> None:
        if last == 4:
            time.sleep(LOST_S)

    server.loses = lost
    toy.run(project, pause=pause)
    monkeypatch.delenv(TIMEOUT)
    assert server.loses == NOTHING
    held = content(project)
    assert {run["status"] for run in held.values()} == {"FINISHED"}
    for run in runs(project).values():
        assert steps(project, run, "cost/bytes_up") == [0, 2, 4]
