"""A folder `client/class/*.png`, or a table of images, as packed clients."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from fedmeta.benchmarks.images.listed import read_listed
from fedmeta.benchmarks.table import parse as table
from fedmeta.benchmarks.table.parts import SUFFIXES as TABLES
from fedmeta.benchmarks.table.parts import title
from fedmeta.core.bounds import Count
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import is_file
from fedmeta.data.vocabularies import in_order

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
SYNTHETIC = "synthetic-"  # how the names of generated clients begin


def find_raw(folder: str | Path) -> list[Path]:
    """The images of a folder, by client, class and name; or a table and its images.

    Hidden files and folders are passed over.

    Returns:
        Images two folders below; else a table, or its parts, then the images beside and
        below it, of which a change is noticed so.

    Raises:
        DataError: when there are neither.
    """
    folder = Path(folder)
    if folder.is_file():
        return [*table.find_raw(folder), *_images(folder.parent, "**/*")]
    found = _images(folder, "*/*/*")
    if not found and any(path.suffix in TABLES for path in folder.glob("*")):
        return [*table.find_raw(folder), *_images(folder, "**/*")]
    if not found:
        raise DataError(
            f"{folder}: no client/class/image here; expected a folder a client, in it a"
            f" folder a class, and images ({', '.join(SUFFIXES)}) in these: name the"
            " folder above the clients as raw.folder"
        )
    return found


def _images(folder: Path, pattern: str) -> list[Path]:
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and is_file(path)
    )


def parse(
    paths: Sequence[str | Path],
    *,
    size: Count = 28,
    colour: bool = False,
    client: str | None = None,
    label: str | None = None,
    image: str | None = None,
    name: str | None = None,
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Read images, one client at a time; nothing else is held in memory.

    Args:
        paths: as of `find_raw`: the two folders above a file are client and class.
        size: side of the square that every image is scaled to, a multiple of 4.
        colour: keep red, green and blue; else grey alone. Transparency is dropped.
        client: of a table, the column of the client's name,
        label: of the class,
        image: and of paths from the table's folder, or of the images' bytes.
        name: what the data are called in reports; None: as the folder of clients.

    Returns:
        clients: `pixels` uint8 [n, channels * size * size], channel by channel, and
            `label` int32 [n].
        metadata: `benchmark`, `synthetic`, `source`, json `classes` and `shape`
            (channels, size) and, where the images are real, `name`.

    Raises:
        DataError: for another size, or a file that is no image.
    """
    files = [Path(path) for path in paths]
    if size % 4:
        raise DataError(
            f"raw.size {size}: expected a multiple of 4, since the network halves"
            f" images twice; take {size + 4 - size % 4}"
        )

    def read(source: Path | io.BytesIO, place: str) -> np.ndarray:
        return _pixels(source, place, size, colour)

    if tables := [path for path in files if path.suffix in TABLES]:
        if not (client and label and image):
            raise DataError(
                f"{tables[0]}: a table of images; expected the names of its columns: "
                "give raw.client, raw.label and raw.image"
            )
        clients, classes, count = read_listed(tables, client, label, image, read)
        home, called = tables[0], title(tables)
    else:
        if client or label or image:
            raise DataError(
                f"{files[0].parent.parent.parent}: images in folders, to which the"
                " columns raw.client, raw.label and raw.image mean nothing; leave them"
                " out, or name the file of a table as raw.folder"
            )
        classes = in_order({path.parent.name for path in files})
        home = files[0].parent.parent.parent
        _refuse_bytes(home, [*classes, *{path.parent.parent.name for path in files}])
        clients, count = _by_folder(files, classes, read)
        called = home.absolute().name
    synthetic = not tables and all(
        path.parent.parent.name.startswith(SYNTHETIC) for path in files
    )
    metadata = {
        "benchmark": "images",
        "synthetic": "true" if synthetic else "false",
        "source": f"images of {count:,} clients",
        "classes": json.dumps(classes),
        "shape": json.dumps([3 if colour else 1, size]),
    }
    if not synthetic:
        metadata["name"] = name or called
    return clients, metadata


def _refuse_bytes(home: Path, names: Sequence[str]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{home}: the name of the folder {name!r} is not in UTF-8, as those of"
                " clients and classes have to be: rename it"
            ) from None


def _by_folder(
    files: Sequence[Path],
    classes: Sequence[str],
    read: Callable[[Path, str], np.ndarray],
) -> tuple[Iterator[ClientRecords], int]:
    number = {name: place for place, name in enumerate(classes)}

    def clients() -> Iterator[ClientRecords]:
        for client, own in groupby(files, key=lambda path: path.parent.parent.name):
            paths = list(own)
            pixels = np.stack([read(path, str(path)) for path in paths])
            labels = np.array([number[path.parent.name] for path in paths], np.int32)
            yield ClientRecords(client, {"pixels": pixels, "label": labels})

    return clients(), len({path.parent.parent.name for path in files})


def _of_bytes(image: Image.Image) -> Image.Image:
    """The image in 8 bits a channel, which Pillow would cut greater levels off to.

    Raises:
        ValueError: for levels of which nobody knows the greatest.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("levels of 32 bits; expected 8 or 16")
    return image


def _pixels(
    source: Path | io.BytesIO, place: str, size: int, colour: bool
) -> np.ndarray:
    """uint8 [channels * size * size]."""
    try:
        with Image.open(source) as image:
            found = _of_bytes(image).convert("RGB" if colour else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{place}: cannot be read as an image ({error}); write it again or remove"
            " it"
        ) from error
    if found.size != (size, size):
        found = found.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(found).reshape(size, size, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).ravel()
