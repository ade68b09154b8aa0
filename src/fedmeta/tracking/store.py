"""MLflow runs, made and completed from records. This imports MLflow, which is slow."""

import logging
import math
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from glob import escape
from itertools import count
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from filelock import FileLock
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import Base
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file

from fedmeta.checkpoints import read_checkpoint
from fedmeta.data.errors import DataError
from fedmeta.tracking.measures import curve_points, final_metrics
from fedmeta.tracking.record import ENDINGS, RUNNING, Record
from fedmeta.tracking.uri import database_file, file_uri

T = TypeVar("T")
AtWork = Callable[[], AbstractContextManager]

log = logging.getLogger(__name__)

# What opening a database says (and of which tables it is made) is no news to users.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

METRICS, PARAMETERS = 1000, 100  # that MLflow takes at once
# Of MLflow's client, unless the user has set others: it would wait 4 minutes for a
# server that is absent and 20 for one that is silent. No retries, since a request that
# was served, but not answered in time, would be served twice.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # A database file that is replaced is seen at the next query.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
LOCKED_S = 4.0  # to wait for another process that writes to the database
MADE_S = 60.0  # to wait for one that makes it
# Charts of all runs. Without these arguments MLflow opens an experiment on its pages
# for language models.
PAGE = "{}/#/experiments/{}/runs?workflowType=machine_learning&compareRunsMode=CHART"
OWN_PAGE = "http://127.0.0.1:5000"  # where `mlflow ui` serves if not told otherwise
COMPLETE = "record_sha256"  # tag: the record of which all has been logged


class Store:
    """An MLflow tracking store."""

    def __init__(
        self, uri: str, artifacts: Path, at_work: AtWork = nullcontext
    ) -> None:
        """Open it; a new SQLite file takes some seconds to make.

        Args:
            uri: MLflow's tracking URI.
            artifacts: folder for the artifacts of experiments in a local store; a
                server has its own place.
            at_work: entered while a file is made.

        Raises:
            Exception: of many kinds, where the store cannot be used.
        """
        local = database_file(uri) is not None
        self._artifacts = artifacts.resolve().as_uri() if local else None
        self._pages = uri.rstrip("/") if uri.startswith("http") else OWN_PAGE
        self.client = open_client(uri, at_work)
        self._experiments: dict[str, str] = {}  # name -> id
        self._held: dict[str, set[tuple]] = {}  # run -> its points and files

    def is_complete(self, record: Record, project: Path) -> bool:
        """Whether all of a record has been logged."""
        run = self._find(self._experiment(record), _address(record, project))
        return run is not None and run.data.tags.get(COMPLETE) == record.digest

    def log(self, record: Record, project: Path) -> Iterator[None]:
        """Log what MLflow lacks of a record: nothing that is there is logged twice.

        Only one process at a time may do so: the one that has the record's lock.

        Yields:
            After every request that was answered.
        """
        experiment, address = self._experiment(record), _address(record, project)
        yield
        tags = {"record": address, **record.tags}
        run = self._find(experiment, address) or self.client.create_run(
            experiment, record.began, tags, record.name
        )
        yield
        if run.data.tags.get(COMPLETE) == record.digest:
            return
        yield from self._log_words(run, tags, record.parameters)
        yield from self._log_values(run, record)
        if record.status == RUNNING:
            if run.info.status != RUNNING:
                self.client.update_run(run.info.run_id, RUNNING)
            return
        yield from self._log_files(run, record, project)
        self.client.set_terminated(run.info.run_id, record.status, record.ended)
        self.client.set_tag(run.info.run_id, COMPLETE, record.digest)
        yield

    def forget(self) -> None:
        """Drop what is known of MLflow's content, after an error of unclear effect."""
        self._experiments.clear()
        self._held.clear()

    def page(self, record: Record) -> str:
        """The address of the charts of a record's experiment."""
        return PAGE.format(self._pages, self._experiment(record))

    def _experiment(self, record: Record) -> str:
        """The id of a record's experiment; it is made if there is none."""
        name = record.experiment
        if name not in self._experiments:
            self._experiments[name] = self._made_experiment(name, record.note)
        return self._experiments[name]

    def _made_experiment(self, name: str, note: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        if found is not None:
            return found.experiment_id
        # Two names may share a folder: runs have folders of their own below it.
        folder = re.sub(r"[^\w.-]+", "_", name)
        place = self._artifacts and f"{self._artifacts}/{quote(folder)}"
        tags = {"mlflow.note.content": note}
        try:
            return self.client.create_experiment(name, place, tags)
        except MlflowException:
            made = self.client.get_experiment_by_name(name)
            if made is None:
                raise
            return made.experiment_id  # by another process, in between

    def _find(self, experiment: str, address: str) -> MlflowRun | None:
        runs = self.client.search_runs([experiment], f"tags.record = '{address}'")
        *empty, found = sorted(runs, key=lambda run: len(run.data.metrics)) or [None]
        for run in empty:  # asked for twice, as the first answer did not come in time
            if not run.data.metrics:
                self.client.delete_run(run.info.run_id)
        return found

    def _log_words(
        self, run: MlflowRun, tags: Mapping[str, str], parameters: Mapping[str, str]
    ) -> Iterator[None]:
        number, held = run.info.run_id, run.data
        news = [RunTag(k, v) for k, v in tags.items() if held.tags.get(k) != v]
        if news:
            self.client.log_batch(number, tags=news)
            yield
        for name in ENDINGS:
            if name in held.tags and name not in tags:
                self.client.delete_tag(number, name)
        # MLflow keeps a parameter's first value, as records do.
        news = [Param(k, v) for k, v in parameters.items() if k not in held.params]
        for some in _batches(news, PARAMETERS):
            self.client.log_batch(number, params=some)
            yield

    def _log_values(self, run: MlflowRun, record: Record) -> Iterator[None]:
        number = run.info.run_id
        if number not in self._held:
            self._held[number] = {
                (point.key, point.step, point.value)
                for name in run.data.metrics
                for point in self.client.get_metric_history(number, name)
            }
        held = self._held[number]
        news = [m for m in _metrics(record) if (m.key, m.step, m.value) not in held]
        for some in _batches(news, METRICS):
            self.client.log_batch(number, metrics=some)
            held |= {(m.key, m.step, m.value) for m in some}
            yield

    def _log_files(
        self, run: MlflowRun, record: Record, project: Path
    ) -> Iterator[None]:
        number, held = run.info.run_id, self._held[run.info.run_id]
        for path in record.files.items() - held:
            folder = path[0].rpartition("/")[0] or None
            self.client.log_artifact(number, str(record.folder / path[0]), folder)
            held.add(path)
            yield
        learned = ("checkpoint", record.checkpoint)
        if record.checkpoint and learned not in held:
            try:
                self._log_learned(number, project / record.checkpoint)
            except FileNotFoundError:
                log.warning(
                    "%s is missing: the parameters learned by %s are not logged",
                    record.checkpoint,
                    record.name,
                )
            held.add(learned)
            yield

    def _log_learned(self, number: str, checkpoint: Path) -> None:
        """What was learned, such as theta and alpha: "parameters.safetensors"."""
        meta = read_checkpoint(checkpoint).learned
        tensors = {
            f"{group}/{name}": tensor.contiguous()
            for group, params in meta.items()
            for name, tensor in params.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "parameters.safetensors"
            save_file(tensors, path)
            self.client.log_artifact(number, str(path))


@contextmanager
def impatient() -> Iterator[None]:
    """Make MLflow's client answer or fail within seconds."""
    unset = {name: v for name, v in IMPATIENT.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def open_client(uri: str, at_work: AtWork = nullcontext) -> MlflowClient:
    """Open a store; create its SQLite file if there is none.

    Raises:
        DataError: for a database that this MLflow cannot use, with the remedy.
        Exception: of many kinds, where the store cannot be reached.
    """
    with impatient():
        path = database_file(uri)
        if path is None:
            return MlflowClient(uri)
        with FileLock(f"{path}.lock", timeout=MADE_S):
            if not _is_made(path):
                with at_work():
                    _make(path)
            try:
                return MlflowClient(uri)  # which adds tables that are missing
            except Exception as error:
                if _holds_runs(path):
                    raise _explained(path, error) from error
            with at_work():
                _make(path)
            return MlflowClient(uri)


def open_to_read(uri: str) -> MlflowClient:
    """Open a store read-only.

    Raises:
        DataError: for a file that is not a whole store.
        Exception: of many kinds, where the store cannot be reached.
    """
    path = database_file(uri)
    if path is not None:
        # MLflow would try for minutes, or add what is missing.
        place = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(place, timeout=LOCKED_S, uri=True)) as database:
            try:
                database.execute("SELECT run_uuid FROM runs LIMIT 1")
            except sqlite3.DatabaseError as error:
                raise DataError(
                    f"{path}: {error}; if it is damaged, or was never completed, kedro"
                    " track makes it again"
                ) from None
    with impatient():
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        return client


def _is_made(path: Path) -> bool:
    """Whether a file is a database of MLflow's with all tables, or with runs.

    Asked before MLflow opens it, which would wait for minutes where it cannot, add its
    tables to another program's, and believe that tables it adds are all that it needs.

    Raises:
        DataError: where it is another program's.
        sqlite3.OperationalError: where it is locked, or cannot be written.
    """
    if not path.exists():
        return False
    with closing(sqlite3.connect(path, timeout=LOCKED_S)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return False
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {name for (name,) in database.execute(query)}
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # no database, or a damaged one
            return False
    if tables and not tables & {"experiments", "alembic_version"}:
        raise DataError(
            f"{path}: a database, but not MLflow's; name another file as"
            " MLFLOW_TRACKING_URI"
        )
    return tables >= set(Base.metadata.tables) or _holds_runs(path)


def _holds_runs(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=LOCKED_S)) as database:
        try:
            return database.execute("SELECT COUNT(*) FROM runs").fetchone() != (0,)
        except sqlite3.OperationalError:  # there is no such table
            return False


def _explained(path: Path, error: Exception) -> Exception:
    if "out-of-date" not in str(error):
        return error
    return DataError(
        f"{path} was made by another version of MLflow; copy it, and then, in its"
        f" folder: mlflow db upgrade sqlite:///{path.name}"
    )


def _make(path: Path) -> None:
    """Create the file with all tables, or not at all: a partial one is unusable.

    A file that is there is damaged, or was never completed: it is put aside.
    """
    for old in path.parent.glob(f"{escape(path.name)}.*.partial"):
        old.unlink()  # of a process that was stopped, since the lock is ours
    # A new name, since MLflow makes the tables of a URI once a process.
    partial = path.with_name(f"{path.name}.{time.time_ns()}.partial")
    try:
        MlflowClient(file_uri(partial))
    except BaseException:
        partial.unlink(missing_ok=True)  # the disk is full, perhaps
        raise
    if path.exists() and path.stat().st_size:
        names = (path.with_name(f"{path.name}.broken-{n}") for n in count(1))
        aside = next(name for name in names if not name.exists())
        os.replace(path, aside)
        for suffix in ("-journal", "-wal", "-shm"):  # not to be taken for the new one's
            if (beside := Path(f"{path}{suffix}")).exists():
                os.replace(beside, f"{aside}{suffix}")
        log.warning(
            "%s was damaged or incomplete and has been replaced; the old file is %s;"
            " kedro track logs the runs under data/ into the new one",
            path,
            aside.name,
        )
    os.replace(partial, path)


def _metrics(record: Record) -> Iterator[Metric]:
    """Yield all values of a record; MLflow draws those without a round as bars."""
    history, scores = record.table("history"), record.table("scores")
    if history is not None:
        for point in curve_points(history):
            seen = record.times.get(str(point.round))
            if seen is not None:  # the file may be newer than what was read of it
                yield Metric(point.name, point.value, seen, point.round)
    if scores is not None:
        for name, value in final_metrics(scores).items():
            if math.isfinite(value):
                yield Metric(name, value, record.times["scores"], 0)


def _address(record: Record, project: Path) -> str:
    """Path of a record as a tag that identifies its run; no character needs quotes."""
    return quote(os.path.relpath(record.folder.resolve(), project.resolve()))


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
