"""Shakespeare's roles from a text, in one of two layouts, or from LEAF's JSON.

A client is a role of a play: `text`, a byte a character, and `begins`, 1 where a
window of 80 characters begins that another character follows. Record i is the i-th
window.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedmeta.benchmarks.shakespeare.characters import codes, fold
from fedmeta.benchmarks.shakespeare.gutenberg import (
    START,
    extract_current,
    unfinished_current,
)
from fedmeta.benchmarks.shakespeare.roles import (
    BYLINE,
    Extract,
    extract_roles,
    unfinished,
)
from fedmeta.benchmarks.shakespeare.windows import WINDOW
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import elsewhere, of_one_kind, raw_files
from fedmeta.data.leaf import LeafClient, leaf_metadata, leaf_shards, read_leaf

log = logging.getLogger(__name__)

LEAF_MD5 = "d2028225a89d8b0b3093dddb720da91f"  # of the text that LEAF reads
SYNTHETIC = "SYNTHETIC"  # how the first line of a generated text begins
REMEDY = (
    "fetch the text of 1994 with `python -m fedmeta.benchmarks.shakespeare.fetch`, or "
    "copy LEAF's data/shakespeare/data/all_data/*.json there"
)
_TEXTS = (".txt", ".txt.gz")


class Layout(NamedTuple):
    """A way in which a text of plays is set."""

    name: str
    recognised: Callable[[str], bool]
    unfinished: Callable[[str], str]  # what is missing at the end, or nothing
    extract: Callable[[str], Extract]


# The first that recognises a text takes it.
CURRENT = Layout(
    "the present Gutenberg text",
    lambda text: START.search(text) is not None,
    unfinished_current,
    extract_current,
)
OF_1994 = Layout(
    "the layout of 1994",
    lambda text: text.count(BYLINE) >= 2,
    unfinished,
    extract_roles,
)
LAYOUTS = (CURRENT, OF_1994)


class _Text(NamedTuple):
    path: Path
    layout: Layout
    note: str  # what its first line says if it is generated
    md5: str


def shakespeare_files(folder: str | Path) -> list[Path]:
    """The texts or LEAF files of a folder, by name.

    Raises:
        DataError: when there are none, or some of both.
    """
    others = elsewhere(folder, *_TEXTS, ".json")
    return of_one_kind(
        folder,
        [raw_files(folder, *_TEXTS), leaf_shards(folder)],
        f"no *.txt, *.txt.gz or *.json here{others}; {REMEDY}",
    )


def parse_shakespeare(
    files: Sequence[Path],
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Roles as packed clients; those without a window vanish and are counted.

    Args:
        files: texts of one layout, or LEAF JSON files.

    Returns:
        clients: a stream of `text` uint8 [c] and `begins` uint8 [c]. Memory is a few
            copies of a text, or LEAF's largest client.
        metadata: `benchmark`, `synthetic`, `source`, and `name` for the present
            Gutenberg text, whose roles are not those of LEAF.

    Raises:
        DataError: for anything that is not Shakespeare; names file and remedy.
    """
    if files[0].suffix == ".json":
        clients = (_chained(client) for client in read_leaf(files))
        return _with_windows(clients), leaf_metadata(files, "shakespeare")
    texts = [_describe(path, read_text(path)) for path in files]
    return _with_windows(_roles(texts)), _metadata(texts)


def read_text(path: Path) -> str:
    """A text file, plain or gzipped, in UTF-8; lines end in a line feed only.

    Raises:
        DataError: for another encoding or a compressed file that is cut short.
    """
    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{path}: not a whole gzip file ({error}); copy or fetch it again"
            ) from None
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:1000]:
            raise DataError(
                f"{path}: is in UTF-16; expected UTF-8: convert it with `iconv -f "
                "UTF-16 -t UTF-8`"
            )
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is 0x{raw[error.start]:02x}; expected UTF-8: "
            "convert it, such as with `iconv -f ISO-8859-1 -t UTF-8`"
        ) from None


def text_layout(path: Path, text: str) -> Layout:
    """The layout of a text.

    Raises:
        DataError: for none that is known, a text cut short, or one without roles.
    """
    layout = next((one for one in LAYOUTS if one.recognised(text)), None)
    if layout is None:
        raise DataError(
            f'{path}: neither the text of 1994 (plays begin with "{BYLINE}") nor '
            f"Gutenberg's present one (*** START OF THE PROJECT GUTENBERG EBOOK); "
            f"{REMEDY}"
        )
    missing = layout.unfinished(text)
    if missing:
        raise DataError(
            f"{path}: in {layout.name}, but cut short: it lacks {missing}; copy or "
            "fetch it again"
        )
    return layout


def _describe(path: Path, text: str) -> _Text:
    first = text.partition("\n")[0]
    note = first if first.startswith(SYNTHETIC) else ""
    md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return _Text(path, text_layout(path, text), note, md5)


def _metadata(texts: Sequence[_Text]) -> dict[str, str]:
    first = texts[0]
    for text in texts[1:]:
        if text.layout != first.layout or bool(text.note) != bool(first.note):
            raise DataError(
                f"{text.path}: {_kind(text)}, but {first.path} is {_kind(first)}; "
                "expected one kind in a folder: keep them in different ones"
            )
    metadata = {
        "benchmark": "shakespeare",
        "synthetic": "true" if first.note else "false",
        "source": first.note or _kind(first),
    }
    if first.layout is CURRENT:
        metadata["name"] = "Shakespeare (present Gutenberg text)"
    return metadata


def _kind(text: _Text) -> str:
    if text.note:
        return "a generated text"
    if text.layout is CURRENT:
        return text.layout.name
    known = "LEAF's text" if text.md5 == LEAF_MD5 else "not the file that LEAF reads"
    return f"in {text.layout.name} ({known}, MD5 {text.md5})"


def _roles(texts: Iterable[_Text]) -> Iterator[ClientRecords]:
    seen: dict[str, Path] = {}
    for path, layout, *_ in texts:
        extract = layout.extract(fold(read_text(path)))
        if not extract.roles:
            raise DataError(
                f"{path}: {layout.name}, but nobody says more than two lines in it; "
                f"expected lines of speech as in that layout: {REMEDY}"
            )
        log.info(
            "%s: %d roles; %d of one or two lines left out, %d lines nobody says",
            path.name,
            len(extract.roles),
            extract.pairs - len(extract.roles),
            extract.discarded,
        )
        for role in extract.roles:
            if role.client_id in seen:
                raise DataError(
                    f"{path}: client {role.client_id!r} is also in "
                    f"{seen[role.client_id]}; expected each play once: move"
                    " the other text aside"
                )
            seen[role.client_id] = path
            text = codes(role.text)
            begins = np.ones(len(text), dtype=np.uint8)
            begins[-WINDOW:] = 0
            columns = {"text": text, "begins": begins}
            yield ClientRecords(role.client_id, columns)


def _with_windows(clients: Iterable[ClientRecords]) -> Iterator[ClientRecords]:
    lost = []
    for client in clients:
        if client.columns["begins"].any():
            yield client
        else:
            lost.append(client.client_id)
    if lost:
        log.warning(
            "%d roles have no window, as they say no more than %d characters, and are "
            "left out; the first is %s",
            len(lost),
            WINDOW,
            lost[0],
        )


def _chained(client: LeafClient) -> ClientRecords:
    """LEAF's windows put back together where each goes on from the one before."""
    _check(client)
    pieces, starts = [], []
    size, following = 0, None
    for window, target in zip(client.x, client.y, strict=True):
        piece = target if window == following else window + target
        pieces.append(piece)
        size += len(piece)
        starts.append(size - WINDOW - 1)
        following = window[1:] + target
    begins = np.zeros(size, dtype=np.uint8)
    begins[starts] = 1
    columns = {"text": codes(fold("".join(pieces))), "begins": begins}
    return ClientRecords(client.client_id, columns)


def _check(client: LeafClient) -> None:
    for name, values, size in (("x", client.x, WINDOW), ("y", client.y, 1)):
        for record, value in enumerate(values):
            if not isinstance(value, str) or len(value) != size:
                found = (
                    f"{len(value)} characters" if isinstance(value, str) else "no text"
                )
                raise client.error(
                    f"record {record} has {found} in {name}; expected {size}: make "
                    "the file again with LEAF, or check that it is Shakespeare's"
                )
