"""Packed pixels as the floats that the model reads."""

import numpy as np
import torch
from torch import Tensor


def pixel_examples(
    columns: dict[str, np.ndarray], rows: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Images [b, 784] in [0, 1], background 1 as LEAF has it; labels [b] 0..61."""
    pixels = torch.from_numpy(columns["pixels"][rows])
    labels = torch.from_numpy(columns["label"][rows])
    return pixels.to(torch.float32).div_(255), labels.to(torch.int64)
