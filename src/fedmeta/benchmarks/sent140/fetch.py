"""Fetch Stanford's tweets and, on request, GloVe's word vectors.

`python -m fedmeta.benchmarks.sent140.fetch [FOLDER] [--glove]` downloads 80 MB of
tweets, or 860 MB of vectors of which the 300-d file (1 GB) is kept. An interrupted
download is continued by the next call. The archives' SHA-256 are written down, and a
later fetch into the folder is held to them; `--sha256` and `--glove-sha256` give them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError

from fedmeta.benchmarks.sent140.stanford import TEST, TRAINING
from fedmeta.data.errors import DataError
from fedmeta.data.files import file_sha256, whole_file
from fedmeta.data.origin import check_origin, open_url, record_origin

FOLDER = Path("data/01_raw/sent140")
TWEETS_URL = "https://cs.stanford.edu/people/alecmgo/trainingandtestdata.zip"
GLOVE_URL = "https://nlp.stanford.edu/data/glove.6B.zip"
GLOVE = "glove.6B.300d.txt"
BLOCK = 1 << 20  # bytes
PARTIAL, RANGE_BEYOND = 206, 416  # HTTP


def fetch_sent140(
    out_dir: str | Path = FOLDER,
    url: str = TWEETS_URL,
    glove_url: str | None = None,
    sha256: str | None = None,
    glove_sha256: str | None = None,
) -> list[Path]:
    """Download the tweets, and word vectors where their address is given.

    Args:
        out_dir: files that are there already are not fetched again.
        url: of the ZIP of Stanford's two CSV files.
        glove_url: of the ZIP of GloVe's files, such as `GLOVE_URL`.
        sha256: of the first ZIP; None: as at an earlier fetch into the folder, if any.
        glove_sha256: of the second.

    Returns:
        The files.

    Raises:
        DataError: when something cannot be fetched or is not what is expected.
    """
    out_dir = Path(out_dir)
    paths = _fetch(url, (TRAINING, TEST), out_dir, sha256)
    if glove_url is not None:
        paths += _fetch(glove_url, (GLOVE,), out_dir, glove_sha256)
    return paths


def _fetch(
    url: str, members: Sequence[str], out_dir: Path, sha256: str | None
) -> list[Path]:
    """Some files of a ZIP at an address."""
    paths = [out_dir / name for name in members]
    if not all(path.exists() for path in paths):
        out_dir.mkdir(parents=True, exist_ok=True)
        archive = out_dir / f".{url.rsplit('/', 1)[-1]}.partial"
        try:
            _download(url, archive)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{url}: could not be fetched ({error}); check the network and call "
                "again, which resumes where it stopped, or give another address"
            ) from error
        try:
            found = {"sha256": file_sha256(archive)}
            check_origin(out_dir, url, found, {"sha256": sha256})
            _extract(archive, members, out_dir, url)
        except DataError:  # of the archive, which a next call would resume
            archive.unlink()
            raise
        record_origin(out_dir, url, found)
        archive.unlink()
    return paths


def _download(url: str, path: Path) -> None:
    """Stream a file to the disk, from where a former call stopped.

    Raises:
        OSError: for any trouble with the server, the network or the disk.
    """
    size = path.stat().st_size if path.exists() else 0
    try:
        answer = open_url(url, {"Range": f"bytes={size}-"} if size else {})
    except HTTPError as error:
        if error.code == RANGE_BEYOND:  # it was whole already
            return
        raise
    with answer, open(path, "ab" if answer.status == PARTIAL else "wb") as file:
        shutil.copyfileobj(answer, file, BLOCK)
        missing = answer.length  # http.client counts down; None where not announced
    if missing:
        raise OSError(f"the connection ended {missing} bytes early")


def _extract(archive: Path, members: Sequence[str], out_dir: Path, url: str) -> None:
    """Unpack some files; they take their places together, when all are whole."""
    try:
        with zipfile.ZipFile(archive) as content, ExitStack() as targets:
            for name in members:
                file = targets.enter_context(whole_file(out_dir / name))
                with content.open(name) as source:
                    shutil.copyfileobj(source, file, BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise DataError(
            f"{url}: not a whole ZIP with {', '.join(members)} ({error}); call again, "
            "or give another address"
        ) from error


def main() -> None:
    """Fetch into a folder and say what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--url", default=TWEETS_URL, help="of the ZIP of tweets")
    parser.add_argument("--sha256", help="of that ZIP")
    parser.add_argument("--glove", action="store_true", help="word vectors as well")
    parser.add_argument("--glove-url", default=GLOVE_URL, help="of the ZIP of GloVe")
    parser.add_argument("--glove-sha256", help="of that ZIP")
    arguments = parser.parse_args()
    for path in fetch_sent140(
        arguments.folder,
        arguments.url,
        arguments.glove_url if arguments.glove else None,
        arguments.sha256,
        arguments.glove_sha256,
    ):
        print(f"{path}: {os.path.getsize(path):,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
