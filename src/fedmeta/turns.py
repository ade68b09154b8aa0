"""One run at a time writes the results of an algorithm to one place."""

import logging
import os
import socket
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from fedmeta.tracking.owners import marked, owner_of
from fedmeta.tracking.record import RECORDS

log = logging.getLogger(__name__)


class TakeTurns:
    """Make a run wait while another one writes the same files.

    It then reuses the finished trainings. Runs of other algorithms, seeds or support
    fractions run side by side.
    """

    def __init__(self) -> None:
        self._held = ExitStack()

    @hook_impl(trylast=True)  # not before the parameters are found to be right
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        self._held.close()  # of a run that ended without telling hooks
        for path in sorted(_locks(pipeline, catalog)):  # in one order: no deadlock
            self._held.enter_context(_turn(path))

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._held.close()

    # The second is called by `fedmeta.session.Session`.
    on_pipeline_error = on_interrupt = after_pipeline_run


def _locks(pipeline: Pipeline, catalog: CatalogProtocol) -> set[Path]:
    """Lock files of all results of a pipeline."""
    return {
        file.parent / RECORDS / f"{owner_of(name).algorithm}.lock"
        for name, (mark, file) in marked(catalog, pipeline.all_outputs()).items()
        if mark in ("history", "scores")
    }


def _turn(path: Path) -> FileLock:
    lock, holder = FileLock(path), path.with_suffix(".holder")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        by = holder.read_text() if holder.is_file() else "another process"
        log.warning("Waiting for %s, which writes the same results: %s", by, path.stem)
        lock.acquire()
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    holder.write_text(
        f"process {os.getpid()} on {socket.gethostname()}, since {now} ({command})"
    )
    return lock
