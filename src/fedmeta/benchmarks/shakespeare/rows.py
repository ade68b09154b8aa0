"""One user's text as rows of a table: `user`, `label`, `text`.

A row is what was written and, as its label, the character that came next.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedmeta.benchmarks.shakespeare.characters import codes, fold
from fedmeta.benchmarks.shakespeare.windows import WINDOW
from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.user_records import (
    SHOWN,
    TableForm,
    UserRecords,
    divided_by_label,
    text_of,
)
from fedmeta.late import pd


def read(
    rows: pd.DataFrame, codebook: Codebook, metadata: Mapping[str, str]
) -> UserRecords:
    """Texts of 80 characters or more, of which the last 80 count.

    Characters beyond the run's alphabet are read as spaces, as in its data.
    """
    pieces, label = [], np.full(len(rows), -1)
    for place, (row, text, following) in enumerate(
        zip(rows.index, map(text_of, rows["text"]), rows["label"], strict=True)
    ):
        target = text_of(following)
        if len(target) > 1:
            raise DataError(
                f"row {row}: unknown label {target[:SHOWN]!r}; expected the one"
                " character that follows the text, or nothing where it is to be"
                " predicted"
            )
        if len(text) < WINDOW:
            raise DataError(
                f"row {row}: text of {len(text)} characters; expected the {WINDOW}"
                " before the one to be predicted, or more"
            )
        label[place] = 0 if target else -1
        pieces.append(fold(text[-WINDOW:] + (target or " ")))
    begins = np.zeros(len(pieces) * (WINDOW + 1), dtype=np.uint8)
    begins[:: WINDOW + 1] = 1
    columns = {"text": codes("".join(pieces)), "begins": begins}
    symbols = codebook.tables["symbols"].numpy().tobytes().decode("ascii")
    return divided_by_label(columns, label, symbols)


def example(metadata: Mapping[str, str]) -> pd.DataFrame:
    """A line, what follows it, and one that is to be continued."""
    line = (
        "Friends, Romans, countrymen, lend me your ears; I come to bury Caesar, not to"
        " praise him"
    )
    written = [line[start : start + WINDOW] for start in range(3)]
    following = [*line[WINDOW : WINDOW + 2], None]
    return pd.DataFrame({"user": "ann", "label": following, "text": written})


TABLE = TableForm(lambda metadata: ("user", "label", "text"), read, example)
