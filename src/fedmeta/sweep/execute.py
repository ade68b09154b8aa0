"""A cell run, here or wherever it is sent to: `processes`, `cluster`.

All take tasks and give an outcome for each as it comes. A task that fails is an outcome
too: it ends no other.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from kedro.framework.startup import bootstrap_project

from fedmeta import identity
from fedmeta.configuration import Source
from fedmeta.data.files import whole_path
from fedmeta.estimates import read_json
from fedmeta.identity import Settings
from fedmeta.pipelines.progress import PART
from fedmeta.session import Session, is_user_error, keep_details, message_of
from fedmeta.sweep.shared import Remaining

log = logging.getLogger(__name__)

ONE_AT_A_TIME = threading.Lock()  # Kedro's configuration belongs to the whole process
PASSED_ON = ("MLFLOW_TRACKING_URI", "DO_NOT_TRACK")  # to machines of a cluster
GRACE_S = 30.0  # for a process to end after a stop
_ready = cache(bootstrap_project)
SHOWN_ONCE = ("fedmeta.hooks", "fedmeta.tracking")  # what these say of every run


class CellTask(NamedTuple):
    """All that another process needs to run a cell."""

    number: int  # of the cell
    name: str  # in messages
    project: Path
    folder: Path  # that relative paths of raw files start from
    pipeline: str
    source: Source
    params: dict[str, Any]
    done: frozenset[str]  # nodes that have run before
    settings: Settings  # that decide its results
    record: Path  # to be written at the end
    environment: dict[str, str]


class Outcome(NamedTuple):
    """How a cell ended."""

    task: CellTask
    seconds: float
    error: str | None  # None: it is finished


CellWork = Callable[[CellTask], Outcome]
Execute = Callable[[Iterable[CellTask]], Iterator[Outcome]]


def run_cell(task: CellTask) -> Outcome:
    """Run a cell, unless its record is there, and write the record.

    A machine that a cluster takes for lost may still be at work: whoever gets the cell
    next waits for it, and finds it finished.
    """
    began, message = time.monotonic(), None
    locks = task.record.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with ONE_AT_A_TIME, FileLock(locks / task.record.stem):
        if not read_json(task.record):
            details = task.record.with_suffix(".log")
            try:
                _run(task)
                details.unlink(missing_ok=True)
            except Exception as error:
                message = told(error, details)
    return Outcome(task, time.monotonic() - began, message)


def _run(task: CellTask) -> None:
    code = {k: v for k, v in task.settings.items() if k.startswith("code.")}
    if identity.code(*(name.removeprefix("code.") for name in code)) != code:
        raise ValueError(
            f"{socket.gethostname()}: other sources of fedmeta than those of this"
            " sweep; restart the workers, in the environment that runs kedro sweep"
        )
    os.environ.update(task.environment)
    began, clock = datetime.now().astimezone(), time.monotonic()
    with contextlib.chdir(task.folder), silence_run_hints():
        _ready(task.project)
        session = Session.create(
            task.project, **task.source._asdict(), runtime_params=task.params
        )
        session.run(pipeline_names=[task.pipeline], runner=Remaining(task.done))
    record = {
        "cell": task.name,
        "began": began.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "host": socket.gethostname(),
        "kedro_session": session.session_id,  # a tag of the MLflow runs that it began
        "settings": task.settings,
    }
    with whole_path(task.record) as temporary:
        temporary.write_text(json.dumps(record, indent=1, default=str))


def in_process(
    tasks: Iterable[CellTask], work: CellWork = run_cell
) -> Generator[Outcome, None, None]:
    """Run tasks one after another in this process."""
    for task in tasks:
        log.info("%s: started", task.name)
        part = PART.set(task.name)
        outcome = work(task)
        PART.reset(part)
        yield outcome


@contextlib.contextmanager
def silence_run_hints() -> Iterator[None]:
    """Silence hints that are logged at the end of every run."""
    loggers = [logging.getLogger(name) for name in SHOWN_ONCE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def told(error: Exception, details: Path) -> str:
    """One-line message of an error; the traceback goes into a file."""
    message = message_of(error) if is_user_error(error) else one_line(error)
    return f"{message} {keep_details(error, details)}".rstrip()


def one_line(error: BaseException) -> str:
    """The error's kind and message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
