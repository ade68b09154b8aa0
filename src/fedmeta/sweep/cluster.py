"""Cells run by the workers of a dask cluster, that share a file system."""

import contextlib
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from fedmeta.runtime.workers import connect
from fedmeta.stops import stop_thread
from fedmeta.sweep import execute as execution
from fedmeta.sweep.execute import CellTask, CellWork, Execute, Outcome

log = logging.getLogger(__name__)

WATCH_S = 0.2  # between two looks at whether a cell is still wanted


@contextlib.contextmanager
def cluster(address: str, work: CellWork = execution.run_cell) -> Iterator[Execute]:
    """Workers of a running dask.distributed scheduler, that share a file system.

    A cell whose worker is lost is run by another one. Running cells are stopped with
    the sweep.

    Raises:
        ValueError: where dask is missing, no scheduler answers, or a worker takes
            several cells at once.
    """
    with connect(address, 0, "--scheduler") as client:
        from distributed import as_completed  # noqa: PLC0415

        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            log.warning("the scheduler has no workers yet: cells wait for the first")
        for name, worker in workers.items():
            if worker["nthreads"] > 1:
                raise ValueError(
                    f"dask worker {name} has {worker['nthreads']} threads, but a cell"
                    " needs a process of its own: dask worker --nthreads 1 --nworkers N"
                )

        def execute(tasks: Iterable[CellTask]) -> Iterator[Outcome]:
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


def _watched(work: CellWork, task: CellTask) -> Outcome:
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
                over.wait(execution.GRACE_S)
                return

    threading.Thread(target=watch).start()
    try:
        return work(task)
    except KeyboardInterrupt:
        raise Reschedule from None  # to another worker, if it is wanted at all
    finally:
        over.set()


def _outcome(future: Any, task: CellTask) -> Outcome:
    if future.status == "finished":
        return future.result()
    if future.status == "cancelled":
        return Outcome(task, 0.0, "the connection to the scheduler was lost")
    return Outcome(task, 0.0, execution.one_line(future.exception()))
