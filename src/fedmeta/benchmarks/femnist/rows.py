"""One user's images as rows of a table: `user`, `label`, `pixels`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedmeta.benchmarks.femnist.parse import CLASSES, PIXELS
from fedmeta.benchmarks.femnist.shards import CHARACTERS
from fedmeta.data.encoding import Codebook
from fedmeta.data.user_records import (
    TableForm,
    UserRecords,
    class_numbers,
    divided_by_label,
    vectors,
)
from fedmeta.late import pd


def read(
    rows: pd.DataFrame, codebook: Codebook, metadata: Mapping[str, str]
) -> UserRecords:
    """Images of 784 grey levels, row by row, 0 ink and 1 background, as LEAF's are."""
    expected = f"one of 0-9, A-Z, a-z, or LEAF's number 0..{CLASSES - 1}"
    label = class_numbers(rows["label"], CHARACTERS, expected, numbered=True)
    pixels = np.rint(255 * vectors(rows["pixels"], "pixels", PIXELS, 0, 1))
    return divided_by_label({"pixels": pixels.astype(np.uint8)}, label, CHARACTERS)


def example(metadata: Mapping[str, str]) -> pd.DataFrame:
    """An upright bar, a level bar, and one to be told from them."""
    images = np.ones((3, 28, 28))
    images[[0, 2], 4:24, 13:15] = 0
    images[1, 13:15, 4:24] = 0
    return pd.DataFrame(
        {
            "user": "ann",
            "label": ["1", "I", None],
            "pixels": images.reshape(3, PIXELS).tolist(),
        }
    )


TABLE = TableForm(lambda metadata: ("user", "label", "pixels"), read, example)
