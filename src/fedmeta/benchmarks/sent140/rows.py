"""One user's tweets as rows of a table: `user`, `label`, `text`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedmeta.benchmarks.sent140.tokens import LENGTH, TokenHashes, hash_text
from fedmeta.data.encoding import Codebook
from fedmeta.data.user_records import (
    TableForm,
    UserRecords,
    class_numbers,
    divided_by_label,
    texts,
)
from fedmeta.late import pd

CLASSES = ("0", "1")


def read(
    rows: pd.DataFrame, codebook: Codebook, metadata: Mapping[str, str]
) -> UserRecords:
    """Texts, of which the first 25 words count, lower-cased as the run's data were."""
    label = class_numbers(rows["label"], CLASSES, "0 (negative) or 1 (positive)")
    hashes, lowercase = TokenHashes(), metadata["lowercase"] == "true"
    hashed = [hash_text(t, hashes, lowercase) for t in texts(rows["text"], "text")]
    tokens: np.ndarray = np.array(hashed, dtype=np.int64).reshape(-1, LENGTH)
    return divided_by_label({"tokens": tokens}, label, CLASSES)


def example(metadata: Mapping[str, str]) -> pd.DataFrame:
    """Two opinions, and one to be understood."""
    written = ["what a lovely day", "i hate rain", "a lovely rain"]
    return pd.DataFrame({"user": "ann", "label": ["1", "0", None], "text": written})


TABLE = TableForm(lambda metadata: ("user", "label", "text"), read, example)
