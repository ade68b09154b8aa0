"""Cells run in this process, in processes of their own, or on a dask cluster.

All three take tasks and give an outcome for each as it comes. A task that fails is an
outcome too: it ends no other.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from kedro.framework.startup import bootstrap_project

from fedmeta import identity
from fedmeta.configuration import Source
from fedmeta.identity import Settings
from fedmeta.session import Session, is_user_error, message_of
from fedmeta.stops import Stop, stop_main_thread, stop_thread, stoppable
from fedmeta.sweep.cells import read_record, write_record
from fedmeta.sweep.shared import Remaining

log = logging.getLogger(__name__)

ONE_AT_A_TIME = threading.Lock()  # Kedro's configuration belongs to the whole process
THREADS = "OMP_NUM_THREADS"  # read by torch, numpy, Arrow, and by our own backends
PASSED_ON = ("MLFLOW_TRACKING_URI", "DO_NOT_TRACK")  # to machines of a cluster
WATCH_S = 0.2  # between two looks at whether a cell is still wanted
ANSWER_S = 10.0  # for a scheduler to answer
GRACE_S = 30.0  # for a process to end after a stop
STOPPED = 128  # and the signal's number: the exit code
BEGUN = "begun"  # what a process of the pool says of its task, before the outcome
SHOWN_ONCE = ("fedmeta.hooks", "fedmeta.tracking")  # what these say of every run


class Task(NamedTuple):
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

    task: Task
    seconds: float
    error: str | None  # None: it is finished


Work = Callable[[Task], Outcome]
Execute = Callable[[Iterable[Task]], Iterator[Outcome]]


def run_cell(task: Task) -> Outcome:
    """Run a cell, unless its record is there, and write the record.

    A machine that a cluster takes for lost may still be at work: whoever gets the cell
    next waits for it, and finds it finished.
    """
    began = time.monotonic()
    locks = task.record.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with ONE_AT_A_TIME, FileLock(locks / task.record.stem):
        if read_record(task.record) is not None:
            return Outcome(task, time.monotonic() - began, None)
        details = task.record.with_suffix(".log")
        try:
            _run(task)
            details.unlink(missing_ok=True)
        except Exception as error:
            message = told(error, details)
            return Outcome(task, time.monotonic() - began, message)
    return Outcome(task, time.monotonic() - began, None)


def _run(task: Task) -> None:
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
    write_record(task.record, record)


def in_process(tasks: Iterable[Task], work: Work = run_cell) -> Iterator[Outcome]:
    """Run tasks one after another in this process."""
    for task in tasks:
        log.info("%s: started", task.name)
        yield work(task)


@contextlib.contextmanager
def pool(size: int, threads: int, work: Work = run_cell) -> Iterator[Execute]:
    """Processes that take one task after another; one that dies takes none with it.

    Args:
        size: how many at once.
        threads: that each may use; OMP_NUM_THREADS, where it is set, counts instead.
        work: what is done with a task; importable.
    """
    idle: list[_Process] = []
    busy: dict[connection.Connection, _Process] = {}

    def execute(tasks: Iterable[Task]) -> Iterator[Outcome]:
        waiting = deque(tasks)
        while waiting or busy:
            while waiting and len(busy) < size:
                process = idle.pop() if idle else _Process(threads, work)
                process.give(waiting.popleft())
                busy[process.connection] = process
            for ready in connection.wait(list(busy)):
                process = busy[ready]
                try:
                    said = ready.recv()
                except (EOFError, OSError):
                    del busy[ready]
                    if process.ended_idle:
                        waiting.appendleft(process.task)
                    else:
                        yield process.ending()
                    continue
                if said == BEGUN:
                    process.begun = True
                    log.info("%s: started", process.task.name)
                else:
                    idle.append(busy.pop(ready))
                    process.proved = True
                    yield said

    try:
        yield execute
    finally:
        for process in busy.values():
            process.interrupt()
        for process in [*idle, *busy.values()]:
            process.end()


class _Process:
    """A process that waits for tasks, and ends with its parent."""

    def __init__(self, threads: int, work: Work) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share torch's
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        budget = os.environ.get(THREADS)
        # Ctrl-C reaches all processes of a terminal; the parent tells these to stop.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.environ[THREADS] = budget or str(threads)  # read when modules are imported
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
            if budget is None:
                del os.environ[THREADS]
        theirs.close()
        self.proved = False  # it has done a task before

    def give(self, task: Task) -> None:
        """Send a task; the process reports when it begins it."""
        self.task, self.begun, self._given = task, False, time.monotonic()
        with contextlib.suppress(OSError):  # it has ended
            self.connection.send(task)

    @property
    def ended_idle(self) -> bool:
        """Whether it ended before it began its task, so that another can run it.

        False for one that has never finished a task: the next would end likewise.
        """
        return self.proved and not self.begun

    def ending(self) -> Outcome:
        """Outcome of the task of a process that has ended."""
        self._process.join()
        code = self._process.exitcode
        number = -code if code < 0 else code - STOPPED
        names = {s.value: s.name for s in signal.Signals}
        why = names.get(number, f"exit code {code}")
        why = f"its process ended ({why}); out of memory? fewer --workers take less"
        return Outcome(self.task, time.monotonic() - self._given, why)

    def interrupt(self) -> None:
        """Stop its current task, as Ctrl-C does."""
        self._process.terminate()

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self._process.join(GRACE_S)
        self._process.kill()


def _serve(tasks: connection.Connection, work: Work) -> None:
    """Main loop of a process of the pool."""
    record = logging.getLogRecordFactory()
    try:
        with stoppable(), contextlib.suppress(EOFError, BrokenPipeError):
            threading.Thread(target=_end_with_parent, daemon=True).start()
            while True:
                task = tasks.recv()
                tasks.send(BEGUN)
                logging.setLogRecordFactory(_named(f"cell {task.number}", record))
                tasks.send(work(task))
    except Stop as stop:
        sys.exit(STOPPED + stop.number)


def _end_with_parent() -> None:
    """Stop this process when its parent is gone, however that ended."""
    connection.wait([multiprocessing.parent_process().sentinel])
    stop_main_thread()
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _named(name: str, record: Callable[..., Any]) -> Callable[..., Any]:
    """Prefix log lines with the name of the cell."""

    def make(*args: Any, **kwargs: Any) -> Any:
        made = record(*args, **kwargs)
        made.msg = f"[{name}] {made.msg}"
        return made

    return make


@contextlib.contextmanager
def cluster(address: str, work: Work = run_cell) -> Iterator[Execute]:
    """Workers of a running dask.distributed scheduler, that share a file system.

    A cell whose worker is lost is run by another one. Running cells are stopped with
    the sweep.

    Raises:
        ValueError: where dask is missing, no scheduler answers, or a worker takes
            several cells at once.
    """
    try:
        from distributed import Client, as_completed  # noqa: PLC0415
    except ImportError:
        raise ValueError(
            "--scheduler needs dask.distributed: pip install distributed"
        ) from None
    try:
        client = Client(address, timeout=ANSWER_S)
    except OSError as error:
        raise ValueError(
            f"no dask scheduler answers at {address} ({error}); start one: dask"
            " scheduler"
        ) from None
    with client:
        _check_workers(client.scheduler_info(n_workers=-1)["workers"])

        def execute(tasks: Iterable[Task]) -> Iterator[Outcome]:
            futures = {
                client.submit(
                    _watched,
                    work,
                    task,
                    key=f"{task.name} {uuid.uuid4()}",
                    priority=-task.number,
                ): task
                for task in tasks
            }
            try:
                for future in as_completed(futures):
                    yield _outcome(future, futures[future])
            finally:
                client.cancel(list(futures))

        yield execute


def _watched(work: Work, task: Task) -> Outcome:
    """Run in a thread of a dask worker; stop when the result is no longer wanted.

    A thread gets no signals, and keeps running until its process is gone.
    """
    from distributed import Reschedule, get_worker  # noqa: PLC0415
    from distributed.worker import WORKER_ANY_RUNNING  # noqa: PLC0415

    worker, thread, over = get_worker(), threading.get_ident(), threading.Event()
    key = worker.get_current_task()

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        return (
            threading.main_thread().is_alive()
            and worker.status in WORKER_ANY_RUNNING
            and state is not None
            and state.state != "cancelled"
        )

    def watch() -> None:  # no daemon: the process waits for what it does
        while not over.wait(WATCH_S):
            if not wanted():
                stop_thread(thread)
                over.wait(GRACE_S)
                return

    threading.Thread(target=watch).start()
    try:
        return work(task)
    except KeyboardInterrupt:
        raise Reschedule from None  # to another worker, if it is wanted at all
    finally:
        over.set()


def _check_workers(workers: dict[str, dict[str, Any]]) -> None:
    if not workers:
        log.warning("the scheduler has no workers yet: cells wait for the first")
    for address, worker in workers.items():
        if worker["nthreads"] > 1:
            raise ValueError(
                f"dask worker {address} has {worker['nthreads']} threads, but a cell"
                " needs a process of its own: dask worker --nthreads 1 --nworkers N"
            )


def _outcome(future: Any, task: Task) -> Outcome:
    if future.status == "finished":
        return future.result()
    if future.status == "cancelled":
        return Outcome(task, 0.0, "the connection to the scheduler was lost")
    return Outcome(task, 0.0, _one_line(future.exception()))


@cache
def _ready(project: Path) -> None:
    bootstrap_project(project)


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
    message = message_of(error) if is_user_error(error) else _one_line(error)
    try:
        text = "".join(traceback.format_exception(error))
        details.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:  # the disk is full, perhaps
        return message
    return f"{message} (details: {details})"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
