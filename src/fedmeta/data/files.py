"""Finding raw files, and writing files atomically."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import BaseFileLock, FileLock

from fedmeta.data.errors import DataError

UNFINISHED, LOCK = ".partial", "lock"


def raw_files(folder: str | Path, *endings: str) -> list[Path]:
    """Files of a folder whose names end in one of ``endings``, by name.

    Passes over hidden files and lock files of office programs (``~$log.csv``), which
    systems and editors leave beside data.

    Raises:
        DataError: for a link to nothing, which would be a smaller data set.
    """
    return sorted(
        path
        for path in Path(folder).glob("*")
        if path.name.endswith(endings)
        and not path.name.startswith((".", "~$"))
        and is_file(path)
    )


def is_file(path: Path) -> bool:
    """Whether it is a file, or a link to one.

    Raises:
        DataError: for a link to nothing.
    """
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"{path}: a link to {path.readlink()}, where there is nothing; bring it"
            " back, or remove the link"
        )
    return path.is_file()


def of_one_kind(
    folder: str | Path, kinds: Iterable[list[Path]], absent: str
) -> list[Path]:
    """The files of a folder that should have one kind of several.

    Args:
        folder: for messages.
        kinds: the files of each kind.
        absent: ends the message that there are none.

    Raises:
        DataError: when there are none, or some of two kinds.
    """
    found = [files for files in kinds if files]
    if not found:
        raise DataError(f"{folder}: {absent}")
    if len(found) > 1:
        raise DataError(
            f"{folder}: has both {found[0][0].name} and {found[1][0].name}, which may "
            "be the same records; keep them in different folders"
        )
    return found[0]


def elsewhere(folder: str | Path, *endings: str) -> str:
    """Subfolders with such files, as the end of a message that a folder has none."""
    below = [path for path in sorted(Path(folder).glob("*")) if path.is_dir()]
    names = [f"{path.name}/" for path in below if raw_files(path, *endings)]
    return f", but in {', '.join(names)}: name the folder that you mean" * bool(names)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_path(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` if all goes well.

    After an error or a stop nothing is left, and a former file is as it was. What a
    killed process has left is removed by the next that writes here, or by
    `remove_leftovers`. Who writes the same file meanwhile is waited for.

    Args:
        path: of the file.
        mode: its permissions, less those that the process's umask takes away.

    Raises:
        OSError: when the disk is full.
    """
    try:
        with _alone(path.with_name(f".{path.name}{UNFINISHED}")) as folder:
            partial = folder / "content"  # no name of data, wherever one looks for some
            partial.touch(mode)
            mode = partial.stat().st_mode
            yield partial
            if not partial.is_symlink():
                partial.chmod(mode)  # some writers put a private file in its place
                with partial.open("rb+") as file:
                    os.fsync(file.fileno())
            os.replace(partial, path)
    except Exception as error:
        # By its text: Kedro and safetensors wrap the error in kinds of their own.
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(
            errno.ENOSPC,
            f"{path}: no space left on the disk; free some and run again (nothing"
            " half-written was left)",
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """`whole_path`, opened for writing."""
    with whole_path(path) as partial, partial.open("wb") as file:
        yield file


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    with whole_path(path, 0o600) as partial:
        partial.write_bytes(content)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left half-written anywhere below a folder."""
    for place, names, _ in os.walk(folder):
        for name in names:
            left = Path(place, name)
            if not (name.startswith(".") and name.endswith(UNFINISHED)):
                continue
            # Not that of one at work, whose lock times out, nor of another user.
            with suppress(OSError):
                if (left / LOCK).exists():
                    with _alone(left, timeout=0):
                        pass
                left.rmdir()  # one that was empty, and whose lock was gone


@contextmanager
def _alone(folder: Path, timeout: float = -1) -> Iterator[Path]:
    """Yield an empty folder for this process alone, removed at the end.

    Held by a lock, not by the number of a process: the system frees it when its holder
    ends, however, and other machines see it too.
    """
    lock = FileLock(folder / LOCK)
    try:
        while not lock.is_locked:
            # Who had it may be removing it at this moment: then again.
            with suppress(FileNotFoundError, FileExistsError):
                folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout)
        _empty(folder)
        yield folder
    finally:
        try:
            _remove(folder, lock)
        except KeyboardInterrupt:  # in the middle of it, and only once
            _remove(folder, lock)
            raise
        finally:
            lock.release()


def _remove(folder: Path, lock: BaseFileLock) -> None:
    """Remove a folder and, where it is ours, what is in it."""
    with suppress(OSError):
        # The lock's file first: whoever waits for it sees that it is gone, and begins
        # again, perhaps before the folder can be removed.
        if lock.is_locked:
            _empty(folder)
            (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()  # another's is not empty


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()
