"""MLflow's tracking stores, opened: a whole database or none, and no long wait."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from glob import escape
from itertools import count
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock
from mlflow.store.tracking.dbmodels.models import Base
from mlflow.tracking import MlflowClient

from fedmeta.data.errors import DataError
from fedmeta.tracking.uri import database_file, file_uri

AtWork = Callable[[], AbstractContextManager]

log = logging.getLogger(__name__)

# What opening a database says (and of which tables it is made) is no news to users.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# Of MLflow's client, unless the user has set others: it would wait 4 minutes for a
# server that is absent and 20 for one that is silent. No retries, since a request that
# was served, but not answered in time, would be served twice.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # A database file that is replaced is seen at the next query.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # it breaks the log's lines
}
LOCKED_S = 4.0  # to wait for another process that writes to the database
MADE_S = 60.0  # to wait for one that makes it


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
                    if "out-of-date" not in str(error):
                        raise
                    raise DataError(
                        f"{path} was made by another version of MLflow; copy it, and"
                        f" then, in its folder: mlflow db upgrade sqlite:///{path.name}"
                    ) from error
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
