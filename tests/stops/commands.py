"""Commands that are stopped, and what they have left."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedmeta.data.federated import read_packed
from fedmeta.data.files import UNFINISHED
from fedmeta.data.tensors import read_tensors

HERE = Path(__file__).parent
KEDRO = str(Path(sys.executable).with_name("kedro"))
RECORDS = "records.arrow"  # its header has the times of the raw files
# Times, the run's own number.
OF_THE_MOMENT = re.compile(r"/(run|seconds)\.json$|\.holder$")
MADE_IN_STEPS = ("06_models", "07_model_output")  # whole at any time, but not at once


class Stop(NamedTuple):
    """When a command is stopped, and how."""

    number: int  # of the signal
    seconds: float | None = None  # after its start
    write: int | None = None  # or at which write of files
    after: bool = False  # that write
    imported: bool = True  # in a process that has imported everything

    def __str__(self) -> str:
        when = (
            f"{'after' if self.after else 'before'} write {self.write}"
            if self.write is not None
            else f"after {self.seconds:.2f} s"
        )
        start = "" if self.imported else " of a new process"
        return f"{signal.Signals(self.number).name} {when}{start}"


class Zygote:
    """Forks of a process that has imported everything, one at a time."""

    def __init__(self) -> None:
        began = time.monotonic()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(
            [sys.executable, HERE / "zygote.py"], text=True, **pipes
        )
        self._read()
        self.seconds = time.monotonic() - began  # that importing takes

    def run(self, folder: Path, words: list[str], stop: Stop | None = None) -> int:
        """The exit code of `kedro` with these words, or less a signal's number."""
        log = folder / "log"
        if stop is not None and not stop.imported:
            return new_process(folder, words, log, stop)
        order: dict[str, Any] = {"words": words, "folder": str(folder), "log": str(log)}
        order["stop"] = (
            (stop.number, stop.write, stop.after)
            if stop is not None and stop.write is not None
            else None
        )
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        child = self._read()
        if stop is not None and stop.write is None:
            time.sleep(stop.seconds)
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.kill(child, stop.number)
        code = self._read()
        assert not lives(child)
        return code

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Any:
        return json.loads(self._process.stdout.readline())


def new_process(folder: Path, words: list[str], log: Path, stop: Stop) -> int:
    with (
        log.open("a") as output,
        subprocess.Popen(
            [KEDRO, *words],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # A shell's background job would ignore Ctrl-C, and hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        ) as process,
    ):
        time.sleep(stop.seconds)
        process.send_signal(stop.number)
    assert not lives(process.pid)
    return process.returncode


def lives(session: int) -> bool:
    """Whether any process of a session that has lost its leader does."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def files(folder: Path) -> dict[str, Any]:
    """What is under data/, by name: all of its bytes, but for measured seconds."""
    found = (path for path in (folder / "data").rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): _content(path)
        for path in found
        if UNFINISHED not in str(path) and not OF_THE_MOMENT.search(str(path))
    }


def _content(path: Path) -> Any:
    if path.name == RECORDS:
        return read_packed(path).checksum
    if path.name.endswith("_history.json"):
        held = json.loads(path.read_text())
        return json.dumps({**held, "timing": None, "sha256": None})
    if path.suffix == ".safetensors" and "06_models" in path.parts:
        tensors, header = read_tensors(path, "checkpoint", "")
        parts = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        return json.dumps({**header, "timing": None}), tuple(sorted(parts.items()))
    return path.read_bytes()


def unfinished(folder: Path) -> list[Path]:
    return list((folder / "data").rglob(f"*{UNFINISHED}"))


class Tracked(NamedTuple):
    """A run in MLflow."""

    algorithm: str | None
    status: str
    points: list[tuple[str, int, float]]  # metric, round, value
    files: list[str]


def tracked(folder: Path) -> list[Tracked]:
    """All runs of the project's store; none where that is not made yet."""
    try:
        return sorted(_tracked(folder), key=str)
    except sqlite3.OperationalError:
        return []


def _tracked(folder: Path) -> Iterator[Tracked]:
    path = f"file:{folder / 'mlflow.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as store:
        runs = "SELECT run_uuid, status, artifact_uri FROM runs"
        for run, status, artifacts in store.execute(runs).fetchall():
            points = (
                "SELECT key, step, value FROM metrics WHERE run_uuid = ?"
                " AND key NOT LIKE '%seconds%'"
            )
            tag = "SELECT value FROM tags WHERE key = 'algorithm' AND run_uuid = ?"
            place = Path(artifacts.removeprefix("file://"))
            yield Tracked(
                *(store.execute(tag, [run]).fetchone() or (None,)),
                status,
                sorted(store.execute(points, [run]).fetchall()),
                sorted(str(path.relative_to(place)) for path in place.rglob("*.*")),
            )
