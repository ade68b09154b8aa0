"""Cells run in processes of their own, several at once.

Neither `concurrent.futures` nor a local cluster of dask does this. In the one, a
process that dies takes all waiting cells with it, and those of a parent that is killed
stay behind; in the other, a cell that has not begun on a worker that dies fails with
it, and cells end without tidying up when their parent does.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection
from typing import Any

from fedmeta.stops import Stop, stop_main_thread, stoppable
from fedmeta.sweep.execute import (
    GRACE_S,
    CellTask,
    CellWork,
    Execute,
    Outcome,
    run_cell,
)

log = logging.getLogger(__name__)

THREADS = "OMP_NUM_THREADS"  # read by torch, numpy, Arrow, and by our own backends
STOPPED = 128  # and the signal's number: the exit code
BEGUN = "begun"  # what a process says of its task, before the outcome


@contextlib.contextmanager
def pool(size: int, threads: int, work: CellWork = run_cell) -> Iterator[Execute]:
    """Processes that take one task after another; one that dies takes none with it.

    Args:
        threads: that each may use; OMP_NUM_THREADS, where it is set, counts instead.
        work: what is done with a task; importable.
    """
    idle: list[_Process] = []
    busy: dict[Any, _Process] = {}  # by its connection

    def execute(tasks: Iterable[CellTask]) -> Iterator[Outcome]:
        waiting = deque(tasks)
        while waiting or busy:
            while waiting and len(busy) < size:
                process = idle.pop() if idle else _Process(threads, work)
                process.give(waiting.popleft())
                busy[process.connection] = process
            ready: Any
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

    def __init__(self, threads: int, work: CellWork) -> None:
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

    def give(self, task: CellTask) -> None:
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
        code = self._process.exitcode or 0
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


def _serve(tasks: connection.Connection, work: CellWork) -> None:
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
    parent = multiprocessing.parent_process()
    assert parent is not None  # only a process of the pool runs this
    connection.wait([parent.sentinel])
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
