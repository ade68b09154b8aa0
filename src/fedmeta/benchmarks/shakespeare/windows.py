"""Windows of 80 characters, cut out of the text when they are needed.

A window is a position in a role's text, never a copy: four million windows of the
whole edition are two bytes a character on the disk.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from fedmeta.data.encoding import Codebook, Encoding
from fedmeta.data.errors import check_known
from fedmeta.data.federated import FederatedDataset
from fedmeta.late import pd

WINDOW = 80  # characters that the model reads; it predicts the next one

# Symbols in the order of their ids. LEAF's model had 53 classes until April 2019,
# the one of Chen et al. 2018, and 80 since.
VOCABULARIES = {
    "leaf53": " " + ascii_uppercase + ascii_lowercase,
    "leaf80": "\n !\"&'(),-."
    + digits
    + ":;>?"
    + ascii_uppercase
    + "[]"
    + ascii_lowercase
    + "}",
}


def window_labels(columns: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """[b] uint8 codes of the characters that follow windows, as the text has them."""
    return columns["text"][_starts(columns, rows) + WINDOW]


def character_codebook(
    records: FederatedDataset, clients: pd.DataFrame, *, vocabulary: str
) -> Codebook:
    """One of LEAF's tables of symbols; characters it lacks are read as a space.

    Args:
        records: not looked at, as LEAF's tables are fixed.
        clients: not looked at.
        vocabulary: "leaf53", letters and space as in the paper, or "leaf80". Accuracies
            under the two are not comparable: 53 has no punctuation to get wrong.

    Raises:
        DataError: for another name.
    """
    del records, clients
    check_known(vocabulary, sorted(VOCABULARIES), "vocabulary")
    symbols = VOCABULARIES[vocabulary]
    ids = np.full(256, symbols.index(" "), dtype=np.uint8)  # of each byte
    characters = np.frombuffer(symbols.encode("ascii"), dtype=np.uint8).copy()
    ids[characters] = np.arange(len(symbols))
    return Codebook(
        tables={"ids": torch.from_numpy(ids), "symbols": torch.from_numpy(characters)},
        note=f"{vocabulary}: {len(symbols)} symbols, others read as a space",
    )


def character_encoding(codebook: Codebook) -> Encoding:
    """Windows as symbol ids [b, 80] uint8, with the next symbol's id [b] int64."""
    ids = codebook.tables["ids"].numpy()

    def examples(
        columns: dict[str, np.ndarray], rows: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        stretches = sliding_window_view(columns["text"], WINDOW + 1)
        symbols = ids[stretches[_starts(columns, rows)]]  # [b, 81]
        x = torch.from_numpy(symbols[:, :WINDOW].copy())
        return x, torch.from_numpy(symbols[:, WINDOW].astype(np.int64))

    return Encoding(examples, {"symbols": len(codebook.tables["symbols"])})


def _starts(columns: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """[b] positions in the text of windows given by their number."""
    return np.flatnonzero(columns["begins"].view(bool))[rows]
