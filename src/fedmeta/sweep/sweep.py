"""The command: find finished cells, run the others, report outcomes."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline
from rich import box
from rich.console import Console
from rich.table import Table

from fedmeta import identity
from fedmeta.configuration import Source
from fedmeta.data.federated import read_packed
from fedmeta.pipelines.progress import duration
from fedmeta.session import Session, registered
from fedmeta.sweep import cells, execute
from fedmeta.sweep.cells import Cell
from fedmeta.sweep.cluster import cluster
from fedmeta.sweep.execute import CellTask, Execute, Outcome
from fedmeta.sweep.grid import CellParams, label, nested, run_command, typed
from fedmeta.sweep.processes import pool
from fedmeta.sweep.shared import DataPart, data_part, waves

log = logging.getLogger(__name__)

Executor = contextlib.AbstractContextManager[Execute]


def sweep(
    project: Path,
    pipeline: str,
    source: Source,
    grid: list[CellParams],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    dry: bool = False,
) -> bool:
    """Run a pipeline for every cell of a grid that is not finished yet.

    Args:
        workers: how many processes at once; 1: this one.
        scheduler: address of a dask scheduler, on whose workers they run instead.
        dry: only show what would be done; data count as they were last packed.

    Returns:
        Whether no cell has failed.

    Raises:
        ValueError: for an unknown pipeline or parameter, or where cells cannot run.
        KeyboardInterrupt: after Ctrl-C, or a signal that does the same.
    """
    found = _Cells(project, pipeline, source, grid)
    console = Console(markup=False, emoji=False)
    if dry:
        found.identify(run=False)
        found.show(console)
        return True
    began = time.monotonic()
    with _alone(found.all[0].home):
        try:
            found.identify(run=True)
            found.show(console)
            # Closed here, and not when it is forgotten, which ends its processes.
            with contextlib.closing(found.outcomes(workers, scheduler)) as outcomes:
                for number, outcome in enumerate(outcomes, start=1):
                    found.note(outcome, number, time.monotonic() - began)
        except KeyboardInterrupt:
            found.close(console, time.monotonic() - began)
            raise
    found.close(console, time.monotonic() - began)
    return not found.failed


class _Cells:
    """The cells of a sweep and their state."""

    def __init__(
        self, project: Path, name: str, source: Source, grid: list[CellParams]
    ) -> None:
        self.project, self.name, self.source = project, name, source
        pipeline = registered(name)
        self.data = DataPart(data_part(pipeline, dict(pipelines.items())))
        self.all = cells.read_cells(project, pipeline, source, grid)
        results = pipeline.all_outputs() - self.data.pipeline.all_outputs()
        for cell in self.all:
            cell.results = set(cell.files(results).values())
        self.code = cells.code_of(pipeline)
        self.left: list[Cell] = []  # to be run

    @property
    def failed(self) -> list[Cell]:
        """The cells that failed, or cannot run."""
        return [cell for cell in self.all if cell.error]

    def identify(self, run: bool) -> None:
        """Determine which cells are finished, which needs packed data."""
        for cell in self.all:
            with self._survived(cell):
                if run:
                    self._prepare(cell, self.data.ingestion)
                cell.settings = cells.settings_of(
                    cell, self.name, self._checksums(cell), self.code
                )
                if not cell.is_finished():
                    self.left.append(cell)
        self._tell_changed()

    def _tell_changed(self) -> None:
        """Log cells that finished before, with other code."""
        records = list(cells.all_records(self.all[0])) if self.left else []
        if not all(records):
            log.info(
                "%d finished cells do not count: they were recorded by an earlier"
                " version of this project, without the code that ran",
                records.count({}),
            )
        changed = [r for r in records if r and not self.code.items() <= r.items()]
        for cell in self.left:
            names, record = identity.nearest(changed, cell.settings)
            if names and all(name.startswith("code.") for name in names):
                words = identity.in_words(names, record, cell.settings)
                log.info("%s: finished before, with %s", label(cell.given), words)

    def outcomes(
        self, workers: int, scheduler: str | None
    ) -> Generator[Outcome, None, None]:
        """Run the unfinished cells."""
        if scheduler is not None:
            return self._at_once(lambda _: cluster(scheduler))
        if workers > 1:
            return self._at_once(lambda widest: _pool(workers, widest))
        return execute.in_process(self._one_by_one())

    def note(self, outcome: Outcome, number: int, seconds: float) -> None:
        """Log the outcome of a cell.

        Args:
            number: how many of this sweep's cells have ended, with it.
            seconds: that they all took.
        """
        task, total = outcome.task, len(self.left)
        to_go = seconds / number * (total - number)
        far = f"{number} of {total} done"
        far += f", about {duration(to_go)} to go" if to_go else ""
        took = duration(outcome.seconds)
        if outcome.error is None:
            log.info("%s: finished after %s; %s", task.name, took, far)
        else:
            self.all[task.number - 1].error = outcome.error
            log.error("%s: failed after %s; %s", task.name, took, far)
            log.error("%s", outcome.error)

    def show(self, console: Console) -> None:
        """Print the plan."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("cell", justify="right")
        for name in typed(self.all[0].given):
            table.add_column(name, justify="right", overflow="fold")
        table.add_column("state")
        writers: dict[Path, Cell] = {}  # the first cell that writes a file
        names: dict[str, None] = {}  # in which the cells that write it differ
        for cell in self.all:
            state, record = "to run", cell.record()
            if cell.error:
                state = "cannot run"
            elif record and cell.is_finished():
                state = f"finished {record['began'][:16].replace('T', ' ')}"
            table.add_row(str(cell.number), *typed(cell.given).values(), state)
            for path in cell.results:
                first = writers.setdefault(path, cell)
                differ = [n for n, v in cell.given.items() if v != first.given[n]]
                names |= dict.fromkeys(differ)
        what = " ".join([self.name, *self.source.words()])
        console.print(f"{what}: {len(self.all)} cells", style="bold")
        console.print(table)
        took = [r["seconds"] for r in map(Cell.record, self.all) if r]
        if took and self.left:
            far = duration(sum(took) / len(took) * len(self.left))
            console.print(
                f"About {far} for what is to run, a cell after the other, if each takes"
                " as long as those that have run before.",
                highlight=False,
            )
        if names:
            console.print(
                f"Cells that differ in {' and '.join(names)} alone write the same files"
                " under data/, where the last one's remain; MLflow keeps all of them."
            )

    def close(self, console: Console, seconds: float) -> None:
        """Print a summary, with commands that run failed cells again."""
        finished = sum(map(Cell.is_finished, self.all))
        console.print(
            f"{finished} of {len(self.all)} cells are finished,"
            f" {len(self.failed)} failed; {duration(seconds)}",
            highlight=False,
        )
        for cell in self.failed:
            again = run_command(self.name, self.source, cell.given)
            console.print(
                f"\nfailed: {label(cell.given)}: {cell.error}\n  {again}",
                highlight=False,
                soft_wrap=True,
            )

    def _one_by_one(self) -> Iterator[CellTask]:
        """Yield tasks that prepare their own data."""
        for cell in self.left:
            stale = self.data.stale(cell, self.data.pipeline)
            self.data.forget(cell, stale)
            yield self._task(cell, stale)
            if not cell.error:
                self.data.note(cell, stale)

    def _at_once(
        self, start: Callable[[int], Executor]
    ) -> Generator[Outcome, None, None]:
        """Prepare all data first: tasks that run at once must not write them."""
        prepared = []
        for cell in self.left:
            with self._survived(cell):
                self._prepare(cell, self.data.pipeline)
                prepared.append((cell, self.data.content(cell)))
        found = waves(prepared)
        with start(max(map(len, found), default=1)) as run:
            for wave in found:
                ready = []
                for cell in wave:
                    with self._survived(cell):
                        self._prepare(cell, self.data.pipeline)
                        ready.append(self._task(cell))
                yield from run(ready)

    def _task(self, cell: Cell, stale: Iterable[str] = ()) -> CellTask:
        """The task of a cell, for which these nodes of the data part have to run."""
        nodes = {node.name for node in self.data.pipeline.nodes}
        passed_on = os.environ.keys() & execute.PASSED_ON
        return CellTask(
            number=cell.number,
            name=f"cell {cell.number} of {len(self.all)} ({label(cell.given)})",
            project=self.project,
            folder=Path.cwd(),
            pipeline=self.name,
            source=self.source,
            params=nested(cell.given),
            done=frozenset(nodes.difference(stale)),
            settings=cell.settings,
            record=cell.record_path,
            environment={name: os.environ[name] for name in passed_on},
        )

    def _prepare(self, cell: Cell, part: Pipeline) -> None:
        """Run the stale nodes of the data part."""
        names = self.data.stale(cell, part)
        if not names:
            return
        self.data.forget(cell, names)
        session = Session.create(
            self.project, **self.source._asdict(), runtime_params=nested(cell.given)
        )
        with execute.silence_run_hints():
            session.run(pipeline_names=[self.name], node_names=names)
        self.data.note(cell, names)

    def _checksums(self, cell: Cell) -> dict[str, str | None]:
        """Checksums of each benchmark's packed records."""
        return {
            name: read_packed(path).checksum if path.is_file() else None
            for name, path in cell.files(self.data.records).items()
        }

    @contextlib.contextmanager
    def _survived(self, cell: Cell) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            details = cell.home / "preparation.log"
            cell.error = execute.told(error, details)
            log.error("%s: failed: %s", label(cell.given), cell.error)


def _pool(workers: int, widest: int) -> Executor:
    """As many processes as there is work for, which share the cores."""
    size = min(workers, widest)
    if size < workers:
        log.info("using %d processes: no more cells can run at once", size)
    # macOS and Windows do not say which cores a process may use.
    mine = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return pool(size, max(1, len(mine(0)) // size))


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Refuse to run beside another sweep, which writes the same files."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "lock"
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout:
        raise ValueError(f"another sweep is running: it holds {path}") from None
