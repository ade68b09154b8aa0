"""Work for tasks of tests; here, where other processes can import it."""

import os
import signal
import time
from pathlib import Path

from fedmeta.configuration import Source
from fedmeta.sweep.execute import CellTask, Outcome


def task(folder: Path, number: int, **params: object) -> CellTask:
    """A task whose work is below."""
    return CellTask(
        number=number,
        name=f"cell {number}",
        project=folder,
        folder=folder,
        pipeline="none",
        source=Source(),
        params=params,
        done=frozenset(),
        settings={},
        record=folder / f"{number}.json",
        environment={},
    )


def noted(task: CellTask) -> Outcome:
    """Says who began and who ended it, and with how many threads."""
    say(task, f"begins {task.number} {os.getpid()}")
    if task.params.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.params.get("stops"):
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        until = time.monotonic() + task.params.get("seconds", 0)
        while time.monotonic() < until:
            time.sleep(0.01)  # a thread is stopped between two calls
    except KeyboardInterrupt:
        say(task, f"tidies {task.number}")
        raise
    say(task, f"ends {task.number} {os.environ.get('OMP_NUM_THREADS')}")
    return Outcome(task, 0.0, task.params.get("error"))


def say(task: CellTask, line: str) -> None:
    with (task.folder / "log").open("a") as file:  # short: written at once
        file.write(f"{line}\n")


def said(folder: Path, what: str) -> list[list[str]]:
    """The words after ``what`` of each such line."""
    log = folder / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[1:] for line in lines if line.startswith(what)]
