"""Fetch the text of Shakespeare's works from Project Gutenberg.

`python -m fedmeta.benchmarks.shakespeare.fetch [FOLDER] [--edition 1994|current]`. The
edition of 1994 is the one that LEAF reads. It is copyright World Library and free for
personal, non-commercial use only; the current one is in the public domain, and its
roles are other clients. The environment variable GUTENBERG_URL names another server.
The file's SHA-256 is written down, and a later fetch into the folder is held to it;
`--sha256` gives it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from fedmeta.benchmarks.shakespeare.parse import (
    CURRENT,
    LEAF_MD5,
    OF_1994,
    Layout,
    read_text,
    text_layout,
)
from fedmeta.data.errors import DataError, check_known
from fedmeta.data.files import raw_files, whole_path
from fedmeta.data.origin import check_origin, open_url, record_origin

FOLDER = Path("data/01_raw/shakespeare")
SERVER = "https://www.gutenberg.org"


class Edition(NamedTuple):
    """A text on the server."""

    path: str
    layout: Layout
    terms: str


EDITIONS = {
    "1994": Edition(
        "files/100/old/1994-01-100.zip",
        OF_1994,
        "copyright World Library: personal, non-commercial use only",
    ),
    "current": Edition("cache/epub/100/pg100.txt", CURRENT, "public domain in the USA"),
}


def fetch_shakespeare(
    out_dir: str | Path = FOLDER,
    edition: str = "1994",
    server: str | None = None,
    sha256: str | None = None,
) -> list[Path]:
    """Download one edition; the folder gets it whole or not at all.

    The text must be in its edition's layout and not cut short. It need not be, byte for
    byte, the one that LEAF reads: `is_leafs_text` tells.

    Args:
        out_dir: must have no text and no JSON yet.
        edition: a name in `EDITIONS`.
        server: address without the path; None for GUTENBERG_URL or Gutenberg's own.
        sha256: of the file there; None: as at an earlier fetch into the folder, if any.

    Returns:
        The text.

    Raises:
        DataError: when there are files already, or what is fetched is not the text.
    """
    check_known(edition, sorted(EDITIONS), "edition")
    out_dir = Path(out_dir)
    there = raw_files(out_dir, ".txt", ".txt.gz", ".json")
    if there:
        raise DataError(
            f"{out_dir}: has {there[0].name} already; move it or name another folder"
        )
    path, layout, _ = EDITIONS[edition]
    base = server or os.environ.get("GUTENBERG_URL") or SERVER
    url = f"{base.rstrip('/')}/{path}"
    packed = _download(url)
    found = {"sha256": hashlib.sha256(packed).hexdigest()}
    check_origin(out_dir, url, found, {"sha256": sha256})
    content = _unzipped(url, packed) if path.endswith(".zip") else packed
    out = out_dir / f"shakespeare_{edition}.txt"
    with whole_path(out) as partial:
        partial.write_bytes(content)
        if text_layout(partial, read_text(partial)) is not layout:
            raise DataError(f"{base}: the text is not in {layout.name}; fetch it again")
    record_origin(out_dir, url, found)
    return [out]


def is_leafs_text(path: Path) -> bool:
    """Whether a text is LEAF's, by its MD5 with lines that end in a line feed."""
    text = read_text(path).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() == LEAF_MD5


def _download(url: str) -> bytes:
    try:
        with open_url(url) as answer:
            return answer.read()
    except (OSError, HTTPException) as error:
        raise DataError(
            f"{url}: could not be fetched ({error}); check the network or "
            "GUTENBERG_URL, or put a text into the folder by hand"
        ) from error


def _unzipped(url: str, packed: bytes) -> bytes:
    """The one text of an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".txt")]
            if len(names) != 1:
                raise zipfile.BadZipFile(f"{len(names)} texts in it, not one")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{url}: not a whole archive of one text ({error}); fetch it again"
        ) from error


def main() -> None:
    """Fetch an edition into a folder and say what it is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--edition", choices=sorted(EDITIONS), default="1994")
    parser.add_argument("--sha256", help="of the file on the server")
    arguments = parser.parse_args()
    (path,) = fetch_shakespeare(
        arguments.folder, arguments.edition, sha256=arguments.sha256
    )
    print(f"{path}: {EDITIONS[arguments.edition].terms}")  # noqa: T201
    if arguments.edition == "1994" and not is_leafs_text(path):
        print("not byte for byte the text that LEAF reads")  # noqa: T201


if __name__ == "__main__":
    main()
