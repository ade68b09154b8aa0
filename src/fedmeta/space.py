"""What takes space in a project, and what of it newer results have replaced."""

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from filelock import FileLock, Timeout

from fedmeta import identity
from fedmeta.checkpoints import read_settings
from fedmeta.data.errors import DataError
from fedmeta.data.states import STATES
from fedmeta.identity import Settings
from fedmeta.tracking.record import RECORDS
from fedmeta.tracking.sender import ARTIFACTS, RESULTS
from fedmeta.tracking.uri import database_file, tracking_uri

MODELS = Path("data", "06_models")
STORE = "mlflow.db"
HEX = "[0-9a-f]" * 32


class Place(NamedTuple):
    """A folder or a file, and what it takes."""

    path: Path  # relative to the project
    size: int  # bytes


class Replaced(NamedTuple):
    """What nothing can use any more."""

    path: Path  # relative to the project; a file, or a folder with all that is in it
    size: int  # bytes
    why: str
    lock: Path | None  # of whoever may be at work there


def places(project: Path) -> list[Place]:
    """The folders of every stage and store below data/, and MLflow's, largest first."""
    found: dict[Path, list[Path]] = defaultdict(list)
    data = project / "data"
    for file in _files(data):
        stage, *below = file.relative_to(data).parts
        store = below[0] if len(below) > 1 else ""
        found[Path("data", stage, store)].append(file)
    for path in (project / ARTIFACTS, *project.glob(f"{STORE}*")):
        found[path.relative_to(project)] += _files(path)
    sizes = {path: _size(files) for path, files in found.items()}
    there = [Place(path, size) for path, size in sizes.items() if size]
    return sorted(there, key=lambda place: place.size, reverse=True)


def replaced(project: Path) -> Iterator[Replaced]:
    """What can be removed without loss to any result or training.

    Checkpoints are those of other code than today's: neither this configuration nor
    another environment's can resume them. The newest of each training stays, whatever
    made it, since results and `kedro recommend` are of it, and so does every checkpoint
    of today's code, whatever its options. Of MLflow's files, those of runs and models
    that no database beside them has: `kedro track` has logged them again.
    """
    yield from _checkpoints(project)
    yield from _artifacts(project)


def remove(project: Path, found: Replaced) -> bool:
    """Remove something, unless a run is at work there; return whether it is gone."""
    if found.lock is None or not found.lock.parent.is_dir():
        _delete(project / found.path)
        return True
    try:
        with FileLock(found.lock, timeout=0):
            _delete(project / found.path)
    except Timeout:
        return False
    return True


def _checkpoints(project: Path) -> Iterator[Replaced]:
    for newest in sorted((project / MODELS).rglob("*.safetensors")):
        if not newest.is_symlink():
            continue
        home = newest.parent.relative_to(project / MODELS)
        lock = project / RESULTS / home / RECORDS / f"{newest.stem}.lock"
        # Of a name that another begins with, too: the fingerprint has twelve digits.
        pattern = f"{newest.stem}-{'[0-9a-f]' * 12}-"
        unusable = {
            path: why
            for path in sorted(newest.parent.glob(f"{pattern}*.safetensors"))
            if path.name != newest.readlink().name and (why := _unusable(path))
        }
        for path in sorted(newest.parent.glob(f"{pattern}{STATES}")):
            name = path.name.removesuffix(STATES)
            left = {*path.parent.glob(f"{name}*.safetensors")} - unusable.keys()
            if not left:
                unusable[path] = "what clients kept, of a training that nothing resumes"
        for path, why in unusable.items():
            yield Replaced(path.relative_to(project), _size(_files(path)), why, lock)


def _unusable(path: Path) -> str:
    """Why no training can resume from a checkpoint; "" where one may."""
    try:
        made = read_settings(path)
    except (DataError, OSError):
        return ""  # damaged, perhaps: not ours to judge
    code = {name: hash_ for name, hash_ in made.items() if name.startswith("code.")}
    if not code:
        return "of a version of this project that did not note its code"
    roots = [name.removeprefix("code.") for name in code]
    try:
        now: Settings = identity.code(*roots)
    except ValueError:  # a module that there is no more
        now = {}
    odd = identity.differences(code, now)
    return f"made with {identity.in_words(odd, code, now)}" if odd else ""


def _artifacts(project: Path) -> Iterator[Replaced]:
    """Files of runs and models that are in no database beside them."""
    for what, table, name, pattern in (
        ("run", "runs", "run_uuid", f"*/{HEX}"),
        ("model", "logged_models", "model_id", f"*/models/m-{HEX}"),
    ):
        # Before asking which there are: one that begins meanwhile has no files yet.
        found = sorted((project / ARTIFACTS).glob(pattern))
        for path in _unknown(project, table, name, found):
            why = f"of a {what} that {STORE} does not have"
            yield Replaced(path.relative_to(project), _size(_files(path)), why, None)


def _unknown(project: Path, table: str, name: str, paths: list[Path]) -> list[Path]:
    """Folders that are named for no row of a table; none where nothing can be said."""
    databases = {project / STORE, *project.glob("*.db")}
    # Files of runs that are tracked in another one are there too.
    named = database_file(tracking_uri(project))
    if named is not None and named.is_file():
        databases.add(named)
    known: set[str] = set()
    try:
        for database in databases:
            place = f"file:{quote(str(database))}?mode=ro"
            with closing(sqlite3.connect(place, uri=True)) as store:
                rows = store.execute(f"SELECT {name} FROM {table}")
                known |= {row for (row,) in rows}
    except sqlite3.Error:  # none, damaged, or of another program
        return []
    return [path for path in paths if path.is_dir() and path.name not in known]


def _files(path: Path) -> Iterator[Path]:
    """A file, or all files below a folder."""
    found = path.rglob("*") if path.is_dir() else [path]
    yield from (p for p in found if p.is_file() and not p.is_symlink())


def _size(files: Iterable[Path]) -> int:
    """Bytes of files; one of several names counts once."""
    seen = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:  # it has just gone
            continue
        seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
