"""Raw files as they are found, and files that are there whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def raw_files(folder: str | Path, *endings: str) -> list[Path]:
    """Files of a folder whose names end in one of ``endings``, by name.

    Passes over hidden files and lock files of office programs (``~$log.csv``), which
    systems and editors leave beside data.
    """
    return sorted(
        path
        for path in Path(folder).glob("*")
        if path.name.endswith(endings)
        and not path.name.startswith((".", "~$"))
        and path.is_file()
    )


def elsewhere(folder: str | Path, *endings: str) -> str:
    """Where else such files are, for a message that there are none in a folder."""
    below = [path for path in sorted(Path(folder).glob("*")) if path.is_dir()]
    names = [f"{path.name}/" for path in below if raw_files(path, *endings)]
    return f", but in {', '.join(names)}: name the folder that you mean" * bool(names)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, that takes its place if all goes well.

    After an error or Ctrl-C nothing is left, and a former file is as it was.

    Raises:
        OSError: when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
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
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """`whole_path`, opened for writing."""
    with whole_path(path) as partial, partial.open("wb") as file:
        yield file
