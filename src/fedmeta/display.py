"""How far a run is: estimates as lines in the log, and a live display on a terminal.

Estimates are of measured seconds only: of earlier runs of the same settings on the same
machine, and of the rounds of this one. Until something is measured nothing is said, and
what is taken over from something else is said with it.
"""

import json
import logging
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from fedmeta import identity
from fedmeta.configuration import PARAMETERS, store_of, value_of
from fedmeta.data.files import whole_path
from fedmeta.pipelines import progress
from fedmeta.pipelines.progress import NODE, UNDER_WAY, Clock, Count, duration

log = logging.getLogger(__name__)

WORTH_SAYING_S = 60.0  # of work, before it starts
FIRST = 2  # rounds before a pace is told: the first one also warms up
SECONDS = "seconds.json"  # of the stages of earlier runs, beside the reports
LOG = "run.log"  # in the project's folder; git ignores *.log
LOG_BYTES = 2_000_000  # of the log file, before it is put aside
SAME = ("processor", "threads")  # of the environment that a pace was measured in


@dataclass
class Stage:
    """A node of a pipeline, and what is known of its time."""

    rounds: int = 0  # of a training; 0: it is none
    pace: float | None = None  # seconds a round, or of all that is no training
    started: float | None = None
    done: bool = False


class Left(NamedTuple):
    """What is left of a run."""

    seconds: float | None  # None: nothing is measured
    assumed: int  # trainings for which the pace of others is taken
    unknown: int  # other stages of which nothing is known, and which are not in it

    def words(self) -> str:
        """The time, and what is taken for granted in it."""
        if self.seconds is None:
            return ""
        notes = []
        if self.assumed:
            some = f"{self.assumed} training{'s' * (self.assumed != 1)}"
            notes.append(f"{some} at the pace of those measured")
        if self.unknown:
            some = f"{self.unknown} stage{'s' * (self.unknown != 1)}"
            notes.append(f"without {some} never timed")
        return f"about {duration(self.seconds)} to go" + (
            f" ({', '.join(notes)})" if notes else ""
        )


class Plan:
    """The stages of a run."""

    def __init__(self, name: str, stages: dict[str, Stage]) -> None:
        self.name, self.stages = name, stages
        self.told = False

    @property
    def trainings(self) -> tuple[int, int]:
        """How many have ended, of how many."""
        found = [stage.done for stage in self.stages.values() if stage.rounds]
        return sum(found), len(found)

    def begun(self, node: str) -> None:
        """Note the start of a stage."""
        if node in self.stages:
            self.stages[node].started = time.monotonic()

    def ended(self, node: str) -> None:
        """Note the end of a stage, if it was one."""
        stage = self.stages.get(node)
        if stage is not None and stage.started is not None:
            stage.done = True
            if not stage.rounds:
                stage.pace = round(time.monotonic() - stage.started, 1)

    def left(self) -> Left:
        """The time that is left, as far as it can be known."""
        clocks = {w.node: w for w in [*UNDER_WAY.values()] if isinstance(w, Clock)}
        for node, clock in clocks.items():
            if node in self.stages and clock.number - clock.first >= FIRST:
                self.stages[node].pace = clock.pace
        paces = [s.pace for s in self.stages.values() if s.rounds and s.pace]
        seconds, assumed, unknown = 0.0, 0, 0
        for node, stage in self.stages.items():
            if stage.done:
                continue
            pace = stage.pace
            if stage.rounds:
                if pace is None and paces:
                    pace, assumed = sum(paces) / len(paces), assumed + 1
                at = clocks[node].number if node in clocks else 0
                seconds += (pace or 0) * max(stage.rounds - at, 0)
            elif pace is not None:
                since = time.monotonic() - stage.started if stage.started else 0
                seconds += max(pace - since, 0)
            else:
                unknown += 1
        measured = bool(paces) or not any(s.rounds for s in self.stages.values())
        return Left(seconds if measured else None, assumed, unknown)

    def tell(self) -> None:
        """Log once how long it takes, as soon as it is known, if that is long."""
        left = self.left()
        if self.told or left.seconds is None:
            return
        self.told = True
        if left.seconds > WORTH_SAYING_S:
            done, trainings = self.trainings
            log.info(
                "%s: %s; %d trainings, less if earlier runs have finished some",
                self.name,
                left.words(),
                trainings - done,
            )


class ShowProgress:
    """Says how long a run takes, and shows how far it is."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
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
        earlier = _read(self._home / SECONDS)
        stages = {}
        for node in pipeline.nodes:
            stage = stages[node.name] = Stage(pace=earlier.get(node.name))
            if where := getattr(node.func, "lasts", None):
                given = _given(node, self._parameters)
                stage.rounds = int(given[where[0]][where[1]])
                stage.pace = _measured(node, catalog, given)
        name = ",".join(run_params["pipeline_names"] or ["__default__"])
        self._plan = plan = Plan(name, stages)
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

    def on_interrupt(self) -> None:
        """Called by `fedmeta.session.Session`."""
        self._end()

    def _heard(self, work: Clock | Count) -> None:
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
            known = {
                name: stage.pace
                for name, stage in plan.stages.items()
                if stage.done and stage.pace is not None and not stage.rounds
            }
            _write(self._home / SECONDS, known)


class Display:
    """The one live display of this process, on its terminal if it has one.

    It is there while something is under way, and gone in between, when tables are
    printed. What is logged meanwhile appears above it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # several trainings may be under way
        self._live: Live | None = None
        self._plan: Plan | None = None
        self._handlers: list[tuple[logging.StreamHandler, Any]] = []

    def update(self, plan: Plan) -> None:
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
            live, self._live = self._live, None
            if live is None:
                return
            try:
                live.stop()
            finally:
                for handler, stream in self._handlers:
                    handler.setStream(stream)
                    handler.removeFilter(_is_new)
                self._handlers = []

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
        self._live.start()
        for handler in handlers:
            self._handlers.append((handler, handler.stream))
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


def _row(work: Clock | Count) -> Iterator[Any]:
    if isinstance(work, Count):
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


def _given(node: Node, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks of parameters that a node takes, by argument."""
    given = node._inputs  # by argument, which `node.inputs` does not tell
    return {
        argument: value_of(parameters, dataset.removeprefix(PARAMETERS))
        for argument, dataset in given.items()
        if dataset.startswith(PARAMETERS)
    }


def _measured(
    node: Node, catalog: CatalogProtocol, given: Mapping[str, Any]
) -> float | None:
    """Seconds a round of the newest earlier training with these options, if any.

    Seeds, the number of rounds and support fractions change no pace: a training under
    another of them counts. So does an evaluation on the way.
    """
    wanted = identity.settings(**given)
    here = identity.environment()
    paths = [
        path
        for name in node.outputs
        if name.endswith(".history") and name in catalog
        for file in [Path(getattr(catalog.get(name), "_filepath", ""))]
        for path in file.parent.parent.glob(f"*/{file.stem}.json")
    ]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        held = _read(path)
        timing, there = held.get("timing"), held.get("environment", {})
        odd = [
            name
            for name in identity.conflicts(held.get("settings", {}), wanted)
            if not name.endswith((".seed", ".rounds", ".steps"))
        ]
        if timing and not odd and all(there.get(k) == here[k] for k in SAME):
            first, last = timing[0], timing[-1]
            seconds = sum(last[k] - first[k] for k in ("training", "evaluation"))
            if last["round"] > first["round"]:
                return float(seconds / (last["round"] - first["round"]))
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # none yet, or damaged: not worth an error
        return {}


def _write(path: Path, known: Mapping[str, float | None]) -> None:
    try:
        with whole_path(path) as temporary:
            temporary.write_text(json.dumps({**_read(path), **known}, indent=1))
    except OSError:  # the disk is full or may not be written: the run is what counts
        pass
