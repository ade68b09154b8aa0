"""Packed pixels as the floats that the model reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedmeta.data.encoding import Codebook, Encoding, labelled
from fedmeta.data.federated import FederatedDataset
from fedmeta.late import pd


def codebook(
    records: FederatedDataset, clients: pd.DataFrame, inverted: bool = False
) -> Codebook:
    """The grey level of every byte: 0 ink and 1 background, as LEAF has it.

    Args:
        records: not looked at.
        clients: not looked at.
        inverted: 1 ink and 0 background, as MNIST has it.
    """
    levels = torch.arange(256, dtype=torch.float32) / 255
    if inverted:
        return Codebook({"levels": 1 - levels}, "Pixels are inverted: 1 is ink.")
    return Codebook({"levels": levels}, "Pixels are LEAF's: 1 is background.")


def encoding(codebook: Codebook) -> Encoding:
    """Images [b, 784] in [0, 1]; labels [b] 0..61."""
    levels = codebook.tables["levels"]

    def inputs(columns: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
        return levels[torch.from_numpy(columns["pixels"][rows]).to(torch.int32)]

    return Encoding(labelled(inputs), sizes={})
