"""Packed pixels as the input of a model, standardised by training clients' images."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from fedmeta.data.encoding import Codebook, Encoding, labelled
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.summaries import Spans, Summary, parts, summary_of
from fedmeta.data.vocabularies import several_classes
from fedmeta.late import pd

IMAGES_AT_ONCE = 1 << 10  # 3 MB of the greatest with 32 x 32 pixels in colour


def summary(records: FederatedDataset, spans: Spans) -> Summary:
    """How often each byte occurs in each channel of some clients' used images."""
    channels, _ = json.loads(records.metadata["shape"])
    counts = np.zeros((channels, 256), np.int64)
    for pixels in parts(records, spans, "pixels", IMAGES_AT_ONCE):
        split = pixels.reshape(len(pixels), channels, -1)
        for channel in range(channels):
            own = split[:, channel].ravel()
            counts[channel] += np.bincount(own, minlength=256)
    return {
        f"bytes of channel {channel}": dict(enumerate(own))
        for channel, own in enumerate(counts.tolist())
    }


def codebook(records: FederatedDataset, clients: pd.DataFrame) -> Codebook:
    """What every byte becomes, channel by channel: mean 0 and deviation 1.

    Args:
        records: of `parse`.
        clients: training clients, whose used images decide.

    Returns:
        `levels` float32 [channels, 256], `size` [] and `classes` [].
    """
    channels, size = json.loads(records.metadata["shape"])
    counted = summary_of(records, clients, summary)
    counts = np.array(
        [
            [counted[f"bytes of channel {channel}"][byte] for byte in range(256)]
            for channel in range(channels)
        ]
    )
    values, shares = np.arange(256), counts / counts.sum(axis=1, keepdims=True)
    mean = (shares * values).sum(axis=1, keepdims=True)
    scale = np.sqrt((shares * (values - mean) ** 2).sum(axis=1, keepdims=True))
    levels = (values - mean) / np.where(scale > 0, scale, 1)
    tables = {
        "levels": torch.from_numpy(levels.astype(np.float32)),
        "size": torch.tensor(size),
        "classes": torch.tensor(len(several_classes(records))),
    }
    kind = "colour" if channels > 1 else "grey"
    return Codebook(
        tables,
        f"Images are scaled to {size} x {size} pixels in {kind}, standardised by"
        f" {len(clients):,} training clients.",
    )


def encoding(codebook: Codebook) -> Encoding:
    """x float32 [b, channels * size * size], y int64 [b]; sizes are the CNN's."""
    levels = codebook.tables["levels"]

    def inputs(columns: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(columns["pixels"][rows]).to(torch.int64)
        split = pixels.reshape(len(rows), len(levels), -1)
        x = torch.stack([level[split[:, c]] for c, level in enumerate(levels)], 1)
        return x.flatten(1)

    size, classes = (int(codebook.tables[name]) for name in ("size", "classes"))
    sizes = {"image_size": size, "classes": classes, "colours": len(levels)}
    return Encoding(labelled(inputs), sizes)
