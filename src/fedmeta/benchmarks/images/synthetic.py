"""Generated images, for tests and CI: no results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fedmeta.benchmarks.images.parse import SYNTHETIC
from fedmeta.core.bounds import Count, Seed


def write_sample(
    folder: Path, clients: Count = 20, images: Count = 10, seed: Seed = 0
) -> list[Path]:
    """Write bars that lie or stand, as PNG of 8 x 8 pixels, in `client/class/`.

    Args:
        folder: made when missing.
        clients: number of folders; how bright bars are is each one's own.
        images: of each class.
        seed: of all images.

    Returns:
        The paths of the files.
    """
    rng = np.random.default_rng(seed)
    paths = []
    for client in range(clients):
        bright = rng.integers(100, 256)
        for kind in ("lying", "standing"):
            home = Path(folder) / f"{SYNTHETIC}{client:03d}" / kind
            home.mkdir(parents=True, exist_ok=True)
            for number in range(images):
                pixels = rng.integers(0, 100, (8, 8), dtype=np.uint8)
                pixels[rng.integers(8)] = bright
                image = Image.fromarray(pixels if kind == "lying" else pixels.T)
                paths.append(home / f"{number}.png")
                image.save(paths[-1])  # every run writes all of them again
    return paths
