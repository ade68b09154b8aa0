"""The way from records to MLflow: in the background of a run, or all by command."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock, Timeout

from fedmeta.data.errors import DataError
from fedmeta.stops import in_chain
from fedmeta.tracking.record import Record, records
from fedmeta.tracking.uri import shown, tracking_uri

log = logging.getLogger(__name__)

RESULTS = Path("data", "07_model_output")  # of a project: records are below it
ARTIFACTS = "mlartifacts"  # the folder of a local store's files
SILENCE_S = 9.0  # of MLflow, that the end of a run waits for
AGAIN_S = 1.0  # that further runs of a process do, until MLflow answers one of them
LIMIT_S = 60.0  # that it waits in all, for an MLflow that answers, but slowly
STOP_S = 10.0  # that a run waits in all which is to stop
REST_S = 60.0  # between an error and the next try


class Sender:
    """Logs records in the background; the run waits for it only at its end."""

    _silent: ClassVar[set[str]] = set()  # stores that a run of this process gave up

    def __init__(self, project: Path) -> None:
        self._project, self._uri = project, tracking_uri(project)
        self._changed = threading.Condition()
        self._pending: dict[Path, None] = {}  # folders of records, in order
        self._tried: set[Path] = set()  # of these, since the end
        self._store: Any = None
        self._thread: threading.Thread | None = None
        self._busy = self._making = self._closing = self._warned = False
        self._heard = 0.0  # when MLflow last answered
        self._rest_until = 0.0
        self.pages: set[str] = set()  # of the experiments that were logged to

    def put(self, folder: Path) -> None:
        """Queue a new or changed record for logging."""
        with self._changed:
            self._pending[folder] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def finish(self, limit: float) -> None:
        """Wait until everything is logged, or warn after ``limit`` seconds."""
        began = self._heard = time.monotonic()
        with self._changed:
            self._closing, self._tried = True, set()
            self._changed.notify_all()
            while self._left() and self._thread and self._thread.is_alive():
                now = time.monotonic()
                if self._making:
                    self._heard = now
                patience = AGAIN_S if self._uri in self._silent else SILENCE_S
                if now - self._heard > patience:
                    self._warn(f"no answer within {patience:.0f} s")
                    break
                if now - began > limit:
                    self._warn(f"not all is logged within {limit:.0f} s")
                    break
                self._changed.wait(0.1)
            self._thread = None  # it has ended, or will with the process
            if self._left():
                self._silent.add(self._uri)
            elif self._warned:
                log.info("MLflow (%s) answers again: all is logged", shown(self._uri))

    def _left(self) -> bool:
        return self._busy or bool(self._pending)

    def _work(self) -> None:
        with self._at_work():
            # Late, and here: MLflow takes seconds to import.
            from fedmeta.tracking.database import impatient  # noqa: PLC0415
        with impatient():
            while (folder := self._next()) is not None:
                try:
                    self._log(folder)
                except Exception as error:
                    self._failed(folder, error)
                finally:
                    with self._changed:
                        self._busy = False
                        self._changed.notify_all()

    def _next(self) -> Path | None:
        with self._changed:
            while self._thread is threading.current_thread():
                # At the end one more try for each, whatever has failed.
                rest = 0.0 if self._closing else self._rest_until - time.monotonic()
                ready = (f for f in self._pending if f not in self._tried)
                if rest <= 0 and (folder := next(ready, None)) is not None:
                    self._busy = True
                    del self._pending[folder]
                    if self._closing:
                        self._tried.add(folder)
                    return folder
                if self._closing:
                    return None
                self._changed.wait(rest if self._pending else None)
        return None

    def _log(self, folder: Path) -> None:
        from fedmeta.tracking.store import Store  # noqa: PLC0415

        record = Record.read(folder)
        if self._store is None:
            artifacts = self._project / ARTIFACTS
            self._store = Store(self._uri, artifacts, self._at_work)
        for _ in self._store.log(record, self._project):
            self._heard = time.monotonic()
            self._silent.discard(self._uri)
        self.pages.add(self._store.page(record))

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Mark this thread as busy, so that its silence is not taken for MLflow's."""
        self._making = True
        try:
            yield
        finally:
            self._making, self._heard = False, time.monotonic()

    def _failed(self, folder: Path, error: Exception) -> None:
        with self._changed:
            if self._store is not None:
                self._store.forget()
            self._pending[folder] = None
            self._rest_until = time.monotonic() + REST_S
            self._warn(told(error))

    def _warn(self, cause: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "MLflow (%s): %s. The run continues and loses nothing: results are kept"
                " under data/, and kedro track logs what is missing",
                shown(self._uri),
                cause,
            )


def track(
    project: Path,
    say: Callable[[str], None],
    watched: Callable[[list[Path]], Iterable[Path]] = iter,
) -> None:
    """Log what MLflow lacks of all runs that are recorded under a project's data.

    Args:
        project: its folder.
        say: is given a line on every run that is passed over, and a sum.
        watched: yields the folders of runs that it is given, to tell how many are done.

    Raises:
        DataError: where MLflow cannot be used, or not for some of the runs.
    """
    from fedmeta.tracking.database import impatient  # noqa: PLC0415
    from fedmeta.tracking.store import Store  # noqa: PLC0415

    uri, folders = tracking_uri(project), [*records(project / RESULTS)]
    logged, errors = 0, []
    with impatient():
        try:
            store = Store(uri, project / ARTIFACTS)
        except Exception as error:
            raise DataError(f"MLflow ({shown(uri)}): {told(error)}") from error
        for folder in watched(folders):
            name = folder.relative_to(project)
            try:
                logged += _tracked(store, folder, project)
            except Timeout:
                say(f"{name}: still running; its own run logs it")
            except Exception as error:
                store.forget()
                errors.append(f"{name}: {told(error)}")
                if len(errors) > logged + 1:
                    break  # MLflow, and not the runs
    if errors:
        raise DataError(f"MLflow ({shown(uri)}), {len(errors)} not logged: {errors[0]}")
    say(f"{len(folders)} runs under {RESULTS}, of which {logged} were not complete")


def _tracked(store: Any, folder: Path, project: Path) -> bool:
    """Whether a record had to be logged."""
    with FileLock(Record.read(folder).lock, timeout=0):
        record = Record.read(folder)
        record.end_lost()
        complete = store.is_complete(record, project)
        for _ in store.log(record, project):
            pass
        return not complete


def one_line(error: BaseException) -> str:
    """The message of an error, or its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def told(error: BaseException) -> str:
    """One-line cause of an error in MLflow."""
    from requests import exceptions  # noqa: PLC0415

    text = one_line(error)
    if (request := in_chain(error, exceptions.RequestException)) is not None:
        silent = "timed out" in str(request) or "timed out" in text
        return "the server does not answer" if silent else "no server answers there"
    return text if len(text) < 300 else f"{text[:300]} ..."
