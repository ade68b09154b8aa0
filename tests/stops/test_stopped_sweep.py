"""A sweep whose parent is stopped: nothing goes on, and typed again it is complete."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import files, tracked, unfinished
from filelock import FileLock
from zygotes import KEDRO, lives

pytestmark = pytest.mark.slow
SWEEPS = "data/08_reporting/smoke/sweeps"  # their records have times
WORDS = (
    *("sweep", "--pipeline", "femnist_maml", "--env", "smoke", "--workers", "2"),
    *("--params", "seed=21,22", "--params", "femnist.training.rounds=60"),
)


def sweep(project: Path, stop: int | None = None) -> tuple[int, str]:
    """The exit code, and what it said; stopped when both cells have got somewhere."""
    said, at = [], set()
    with subprocess.Popen(
        [KEDRO, *WORDS],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        for line in process.stdout:
            said.append(line)
            at |= set(re.findall(r"\[cell (\d)\] maml, round", line))
            if stop is not None and at == {"1", "2"}:
                process.send_signal(stop)
                stop = None
        process.wait()
    began = time.monotonic()
    while lives(process.pid):  # workers of one that was killed
        assert time.monotonic() - began < 20
        time.sleep(0.1)
    return process.returncode, "".join(said)


def results(project: Path) -> dict:
    return {
        name: content if SWEEPS not in name else None
        for name, content in files(project).items()
        if "/locks/" not in name
    }


def test_a_sweep_stopped_and_typed_again(new_project):
    unbroken, project = new_project(), new_project()
    code, text = sweep(unbroken)
    assert code == 0, text
    for number, ends in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        code, text = sweep(project, number)
        assert code == ends, text
        assert "Traceback" not in text
        assert {run.status for run in tracked(project)} == {"KILLED"}
        assert not unfinished(project)
        with FileLock(project / SWEEPS / "lock", timeout=0):
            pass  # a sweep may begin
    assert "0 of 2 cells are finished, 0 failed" in text
    assert "the same command resumes" in text
    code, text = sweep(project)
    assert code == 0, text
    assert len(re.findall(r"maml: resuming", text)) == 2
    assert results(project) == results(unbroken)
    assert tracked(project) == tracked(unbroken)
