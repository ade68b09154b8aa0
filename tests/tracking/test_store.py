"""A store that several processes open, or that was never completed."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import toy_pipeline as toy

from fedmeta.data.errors import DataError
from fedmeta.reproduction.runs import Recorded
from fedmeta.tracking import database
from fedmeta.tracking.database import open_client
from fedmeta.tracking.sender import told
from fedmeta.tracking.uri import file_uri

OPEN = """
import sys, time
from pathlib import Path
from fedmeta.tracking.record import Record
from fedmeta.tracking.store import Store
folder = Path(sys.argv[1])
(folder / f"ready{sys.argv[2]}").touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.001)
store = Store(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
print(store.page(Record(folder, "toy", "one")))
"""


def test_two_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    opened = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    answers = [process.communicate(timeout=400) for process in opened]
    assert [process.returncode for process in opened] == [0, 0], answers
    assert len({out.strip() for out, _ in answers}) == 1  # the same experiment


def is_usable(path: Path) -> bool:
    client = open_client(file_uri(path))
    client.create_run(client.create_experiment("toy"))
    return len(client.search_experiments()) == 2


@pytest.mark.slow
def test_stopped_while_it_is_made_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    code = OPEN.replace("< 2", "< 1")
    path = tmp_path / "mlflow.db"
    making = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), "0"])
    while not [*tmp_path.glob("mlflow.db.*.partial")]:
        assert making.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    making.send_signal(signal.SIGKILL)
    making.wait()
    assert not path.exists()
    assert is_usable(path)
    assert not [*tmp_path.glob("*.partial")]


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 50_000, 400_000, -1])
def test_a_file_that_was_cut_short(
    tmp_path: Path, quickly_made: bytes, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(quickly_made[:size])
    with caplog.at_level(logging.WARNING):
        assert is_usable(path)
    aside = tmp_path / "mlflow.db.broken-1"
    if aside.exists():
        assert aside.read_bytes() == quickly_made[:size]  # it is not lost
        assert "mlflow.db.broken-1" in caplog.text
    else:  # nothing in it, or nothing missing
        assert size in (0, -1)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
        "UPDATE alembic_version SET version_num = 'bd07f7e963c5'",
        "DROP TABLE runs",
        "DROP TABLE alembic_version; DROP TABLE metrics; DROP TABLE latest_metrics",
    ],
)
def test_a_store_that_was_never_completed(
    tmp_path: Path, quickly_made: bytes, change: str
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(quickly_made)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(change)
    assert is_usable(path)


def test_another_version_s_store_is_named_with_the_remedy(
    tmp_path: Path, quickly_made: bytes
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(quickly_made)
    assert is_usable(path)  # there is a run in it now
    path = path.rename(tmp_path / "older.db")  # MLflow has looked at the other one
    with closing(sqlite3.connect(path)) as database:
        database.executescript("UPDATE alembic_version SET version_num = 'another'")
    with pytest.raises(DataError, match="mlflow db upgrade sqlite:///older.db"):
        open_client(file_uri(path))
    assert not [*tmp_path.glob("*broken*")]


def test_another_error_over_a_store_with_runs_is_told_as_it_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(uri: str) -> None:
        raise RuntimeError("no such table")

    toy.run(project)
    monkeypatch.setattr(database, "MlflowClient", fails)
    with pytest.raises(RuntimeError) as raised:
        open_client(file_uri(project / "mlflow.db"))
    assert raised.value.__cause__ is None  # an error that is its own cause has no end
    assert told(raised.value) == "no such table"


@pytest.mark.parametrize("size", [0, 100, 50_000])
def test_reading_changes_nothing(
    tmp_path: Path, quickly_made: bytes, size: int
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(quickly_made[:size])
    with pytest.raises(DataError, match="kedro track makes it again"):
        Recorded(file_uri(path))
    assert path.read_bytes() == quickly_made[:size]
    assert [*tmp_path.iterdir()] == [path]


def test_another_program_s_database_stays(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE runs (miles REAL); CREATE TABLE tags (x)")
    before = path.read_bytes()
    with pytest.raises(DataError, match="not MLflow's"):
        open_client(file_uri(path))
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="of POSIX")
@pytest.mark.parametrize("trouble", ["locked", "a folder"])
def test_a_file_that_cannot_be_used_costs_seconds(
    tmp_path: Path, quickly_made: bytes, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mlflow.db"
    if trouble == "a folder":
        path.mkdir()
    else:
        path.write_bytes(quickly_made)
    blocker = sqlite3.connect(path) if trouble == "locked" else None
    if blocker:
        blocker.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        toy.run(tmp_path)
    assert time.monotonic() - began < 15
    assert len(caplog.records) == 1
    assert "kedro track" in caplog.text
    if blocker:
        blocker.close()
