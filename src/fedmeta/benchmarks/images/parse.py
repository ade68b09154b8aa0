"""A folder `client/class/*.png` as packed clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from fedmeta.core.bounds import Count
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
SYNTHETIC = "synthetic-"  # how the names of generated clients begin


def find_raw(folder: str | Path) -> list[Path]:
    """The images of a folder, by client, class and name.

    Hidden files and folders are passed over.

    Raises:
        DataError: when there are none two folders below.
    """
    folder = Path(folder)
    found = sorted(
        path
        for path in folder.glob("*/*/*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise DataError(
            f"{folder}: no client/class/image here; expected a folder a client, in it a"
            f" folder a class, and images ({', '.join(SUFFIXES)}) in these: name the"
            " folder above the clients as raw.folder"
        )
    return found


def parse(
    paths: Sequence[str | Path],
    *,
    size: Count = 28,
    colour: bool = False,
    name: str | None = None,
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Read images, one client at a time; nothing else is held in memory.

    Args:
        paths: as of `find_raw`: the two folders above a file are client and class.
        size: side of the square that every image is scaled to, a multiple of 4.
        colour: keep red, green and blue; else grey alone. Transparency is dropped.
        name: what the data are called in reports; None: as the folder of clients.

    Returns:
        clients: `pixels` uint8 [n, channels * size * size], channel by channel, and
            `label` int32 [n].
        metadata: `benchmark`, `synthetic`, `source`, json `classes` and `shape`
            (channels, size) and, where the images are real, `name`.

    Raises:
        DataError: for another size, one class alone, or a file that is no image.
    """
    files = [Path(path) for path in paths]
    if size % 4:
        raise DataError(
            f"raw.size {size}: expected a multiple of 4, since the network halves"
            f" images twice; take {size + 4 - size % 4}"
        )
    classes = sorted({path.parent.name for path in files})
    home = files[0].parent.parent.parent
    if len(classes) < 2:
        raise DataError(
            f"{home}: all images are of one class, {classes[0]!r}; expected two or more"
            " folders of classes: name the folder above the clients as raw.folder"
        )
    by_client = groupby(files, key=lambda path: path.parent.parent.name)
    number = {name: place for place, name in enumerate(classes)}

    def clients() -> Iterator[ClientRecords]:
        for client, own in by_client:
            read = list(own)
            pixels = np.stack([_pixels(path, size, colour) for path in read])
            labels = np.array([number[path.parent.name] for path in read], np.int32)
            yield ClientRecords(client, {"pixels": pixels, "label": labels})

    names = {path.parent.parent.name for path in files}
    synthetic = all(client.startswith(SYNTHETIC) for client in names)
    metadata = {
        "benchmark": "images",
        "synthetic": "true" if synthetic else "false",
        "source": f"images of {len(names):,} folders",
        "classes": json.dumps(classes),
        "shape": json.dumps([3 if colour else 1, size]),
    }
    if not synthetic:
        metadata["name"] = name or home.absolute().name
    return clients(), metadata


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


def _pixels(path: Path, size: int, colour: bool) -> np.ndarray:
    """uint8 [channels * size * size]."""
    try:
        with Image.open(path) as image:
            found = _of_bytes(image).convert("RGB" if colour else "L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: cannot be read as an image ({error}); write it again or remove it"
        ) from error
    if found.size != (size, size):
        found = found.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(found).reshape(size, size, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).ravel()
