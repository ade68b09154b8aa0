"""The log of a run in a file, and a live display of how far it is on a terminal."""

import logging
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from fedmeta.configuration import store_of
from fedmeta.estimates import FIRST, Stages, read_json, stages_of, write_seconds
from fedmeta.pipelines import progress
from fedmeta.pipelines.progress import NODE, UNDER_WAY, Clock, ItemCount, duration

SECONDS = "seconds.json"  # of the stages of earlier runs, beside the reports
LOG = "run.log"  # in the project's folder; git ignores *.log
LOG_BYTES = 2_000_000  # of the log file, before it is put aside


class ShowProgress:
    """Says how long a run takes, and shows how far it is."""

    def __init__(self) -> None:
        self._plan: Stages | None = None
        self._home = Path()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self._parameters = context.config_loader["parameters"]
        store = store_of(context.config_loader)
        self._home = Path(context.project_path) / "data" / "08_reporting" / store

    @hook_impl(trylast=True)  # parameters are right, and it is this run's turn
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        self._end()  # of a run that ended without telling hooks
        name = ",".join(run_params["pipeline_names"] or ["__default__"])
        earlier = read_json(self._home / SECONDS)
        stages = stages_of(pipeline, catalog, self._parameters, earlier)
        self._plan = plan = Stages(name, stages)
        progress.LISTENERS.append(self._heard)
        plan.tell()

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        if self._plan is not None:
            # Kedro says that a generator has run before it begins to.
            self._plan.ended(NODE.get())
            self._plan.begun(node.name)
        NODE.set(node.name)

    @hook_impl
    def after_pipeline_run(self) -> None:
        if self._plan is not None:
            self._plan.ended(NODE.get())
        self._end()

    @hook_impl
    def on_pipeline_error(self) -> None:
        self._end()

    on_interrupt = on_pipeline_error  # called by `fedmeta.session.Session`

    def _heard(self, work: Clock | ItemCount) -> None:
        if self._plan is None:
            return
        if isinstance(work, Clock):
            if work.number >= work.rounds and work.node in self._plan.stages:
                self._plan.stages[work.node].done = True
            if work.number - work.first >= FIRST:
                self._plan.tell()
        DISPLAY.update(self._plan)

    def _end(self) -> None:
        plan, self._plan = self._plan, None
        if self._heard in progress.LISTENERS:
            progress.LISTENERS.remove(self._heard)
        DISPLAY.close()
        if plan is not None:
            write_seconds(self._home / SECONDS, plan)


class Display:
    """The one live display of this process, on its terminal if it has one.

    It is there while something is under way, and gone in between, when tables are
    printed. What is logged meanwhile appears above it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # several trainings may be under way
        self._live: Live | None = None
        self._plan: Stages | None = None
        self._undo = ExitStack()  # leaves the terminal as it was

    def update(self, plan: Stages) -> None:
        """Open it for what is under way, or close it when nothing is."""
        with self._lock:
            self._plan = plan
            if not UNDER_WAY:
                self.close()
            elif self._live is None:
                self._open()

    def close(self) -> None:
        """Erase it and leave the terminal as it was."""
        with self._lock:
            self._live = None
            self._undo.close()

    def _open(self) -> None:
        console = Console(stderr=True, markup=False, emoji=False, highlight=False)
        if (
            not console.is_terminal
            or console.is_dumb_terminal
            or multiprocessing.parent_process() is not None  # which shows its own
        ):
            return
        streams = (sys.stderr, sys.stdout)
        handlers = [
            handler
            for handler in logging.getLogger().handlers
            if type(handler) is logging.StreamHandler and handler.stream in streams
        ]
        self._live = Live(
            get_renderable=self._drawn,
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        for handler in handlers:
            self._undo.callback(handler.setStream, handler.stream)
            self._undo.callback(handler.removeFilter, _is_new)
        self._undo.enter_context(self._live)
        for handler in handlers:
            handler.setStream(sys.stderr)  # which prints above the display
            handler.addFilter(_is_new)

    def _drawn(self) -> Table:
        frame = Table.grid()
        if self._plan is not None:
            done, trainings = self._plan.trainings
            left = self._plan.left().words()
            words = [
                progress.PART.get(),
                self._plan.name,
                f"{done} of {trainings} trainings done" if trainings else "",
                left or "time to go: not measured yet",
            ]
            frame.add_row(" \u00b7 ".join(filter(None, words)))
        rows = Table.grid(padding=(0, 1))
        for work in [*UNDER_WAY.values()]:
            rows.add_row(*_row(work))
        frame.add_row(rows)
        return frame


DISPLAY = Display()


def _row(work: Clock | ItemCount) -> Iterator[Any]:
    if isinstance(work, ItemCount):
        yield work.words()
        return
    yield work.name
    yield ProgressBar(total=work.rounds, completed=work.number, width=10)
    yield f"round {work.number}/{work.rounds}"  # all in 80 characters
    yield "" if work.loss is None else f"loss {work.loss:.3f}"
    yield "" if work.accuracy is None else f"validation {work.accuracy:.1f} %"
    yield "" if work.to_go is None else f"{duration(work.to_go)} to go"


class LogFile(logging.FileHandler):
    """A log file that stops no run: where it cannot be written, it is not."""

    def __init__(self, path: Path) -> None:
        try:
            if path.stat().st_size > LOG_BYTES:
                path.replace(f"{path}.1")
        except OSError:  # there is none yet, or another process has moved it
            pass
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # of opening it; others go to `handleError`
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _is_new(record: logging.LogRecord) -> bool:
    """Whether a line says what the display does not."""
    return not getattr(record, "progress", False)


@contextmanager
def told(project: Path) -> Iterator[None]:
    """Keep the log of a run in a file too, and close the display however it ends.

    Kedro's logging.yml takes no classes of a project, and no folder but the current.

    Args:
        project: the folder of the file.
    """
    file, root = LogFile(project / LOG), logging.getLogger()
    root.addHandler(file)
    try:
        yield
    finally:
        DISPLAY.close()
        root.removeHandler(file)
        file.close()
