"""FEMNIST from LEAF's JSON: 28x28 grey characters of 62 classes, by writer.

A pixel is a float, 0 ink and 1 background (not inverted, unlike MNIST); a label is
0..61 for 0-9, A-Z, a-z. Stored as bytes: LEAF made the floats from bytes, so
nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fedmeta.data.federated import ClientRecords
from fedmeta.data.leaf import (
    LeafClient,
    as_json,
    leaf_files,
    leaf_metadata,
    read_leaf,
)

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = 62
REMEDY = (
    "copy LEAF's data/femnist/data/all_data/*.json there (made by `./preprocess.sh "
    "-s niid --sf 1.0 -k 0 -t sample` in data/femnist of LEAF), or fetch the public "
    "copy with `python -m fedmeta.benchmarks.femnist.fetch`"
)


def femnist_shards(folder: str | Path) -> list[Path]:
    """FEMNIST's LEAF files in a folder, by name; an error says how to get them."""
    return leaf_files(folder, REMEDY)


def parse_femnist(
    shards: Sequence[Path],
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """FEMNIST as packed clients, in the order of the files.

    Args:
        shards: LEAF JSON files, of any number and size.

    Returns:
        clients: a stream of `pixels` uint8 [n, 784] and `label` uint8 [n], checked as
            it is consumed; memory is bounded by the largest client.
        metadata: `benchmark`, `synthetic` ("true" when the files say so) and `source`.

    Raises:
        DataError: for anything that is not FEMNIST; names file, client and remedy.
    """
    return map(_records, read_leaf(shards)), leaf_metadata(shards, "femnist")


def _records(client: LeafClient) -> ClientRecords:
    expected = f"an integer in 0..{CLASSES - 1} (0-9, A-Z, a-z)"
    columns = {"pixels": _pixels(client), "label": client.labels(CLASSES, expected)}
    return ClientRecords(client.client_id, columns)


def _pixels(client: LeafClient) -> np.ndarray:
    expected = f"expected {PIXELS} finite numbers in [0, 1], 0 ink and 1 background"
    images = [_flat(image) for image in client.x]
    for record, image in enumerate(images):
        if not isinstance(image, list) or len(image) != PIXELS:
            size = f"{len(image)} pixels" if isinstance(image, list) else "no pixels"
            raise client.error(f"record {record} has {size}; {expected}")
    flat: Iterator[Any] = chain.from_iterable(images)
    try:
        # fromiter is twice as fast as array() on nested lists
        values = np.fromiter(flat, np.float64, len(images) * PIXELS)
    except (TypeError, ValueError):
        record, pixel = next(
            (record, pixel)
            for record, image in enumerate(images)
            for pixel in image
            if type(pixel) not in (int, float)
        )
        raise client.error(
            f"record {record} has a pixel of {as_json(pixel)}; {expected}"
        ) from None
    values = values.reshape(-1, PIXELS)
    inside = (values >= 0) & (values <= 1)  # false for NaN
    if not inside.all():
        record, pixel = np.argwhere(~inside)[0]
        raise client.error(
            f"record {record} has a pixel of {as_json(images[record][pixel])}; "
            f"{expected}: divide 8-bit images by 255, or make the file again"
        )
    return np.rint(values * 255).astype(np.uint8)


def _flat(image: Any) -> Any:
    """Rows of pixels one after another; anything else as it is."""
    if isinstance(image, list) and len(image) == SIDE:
        if all(isinstance(row, list) and len(row) == SIDE for row in image):
            return list(chain.from_iterable(image))
    return image
