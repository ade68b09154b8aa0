"""One client's images as rows of a table: `user`, `label`, `pixels`."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from fedmeta.data.encoding import Codebook
from fedmeta.data.user_records import (
    TableForm,
    UserRecords,
    class_numbers,
    divided_by_label,
    expected_classes,
    vectors,
)
from fedmeta.late import pd


def read(
    rows: pd.DataFrame, codebook: Codebook, metadata: Mapping[str, str]
) -> UserRecords:
    """Images of the run's size, as whole levels from 0 to 255, channel by channel."""
    classes = json.loads(metadata["classes"])
    channels, size = json.loads(metadata["shape"])
    label = class_numbers(rows["label"], classes, expected_classes(classes))
    pixels = vectors(rows["pixels"], "pixels", channels * size * size, 0, 255)
    columns = {"pixels": np.rint(pixels).astype(np.uint8)}
    return divided_by_label(columns, label, classes)


def example(metadata: Mapping[str, str]) -> pd.DataFrame:
    """A black and a white image, and a grey one."""
    channels, size = json.loads(metadata["shape"])
    numbers = channels * size * size
    first, second, *_ = json.loads(metadata["classes"])
    return pd.DataFrame(
        {
            "user": "ann",
            "label": [first, second, None],
            "pixels": [[level] * numbers for level in (0.0, 255.0, 100.0)],
        }
    )


FORM = TableForm(lambda metadata: ("user", "label", "pixels"), read, example)
