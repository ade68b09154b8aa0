"""Real images that need no download: scikit-learn's digits, among clients by label.

`python -m fedmeta.benchmarks.images.digits [FOLDER]` writes 1,797 handwritten digits
of 8 x 8 pixels (Alpaydin and Kaynak 1998, the test set of UCI's "Optical Recognition of
Handwritten Digits") as `client/class/number.png`. Who wrote a digit is not known: the
images of a class are divided among clients by shares from a Dirichlet distribution
(Hsu et al. 2019, https://arxiv.org/abs/1909.06335), so that clients differ in labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from fedmeta.core.bounds import Count, Rate, Seed

FOLDER = Path("data/01_raw/digits")
WHITE = 16  # the greatest value of a pixel


def write_digits(
    folder: Path = FOLDER, clients: Count = 60, alpha: Rate = 0.3, seed: Seed = 0
) -> list[Path]:
    """Write the digits as images of clients.

    Args:
        folder: made when missing.
        clients: number of them.
        alpha: of the Dirichlet distribution; a small one gives clients few classes.
        seed: of the division.

    Returns:
        The paths of the images.
    """
    digits = load_digits()
    rng = np.random.default_rng(seed)
    paths = []
    for label in digits.target_names:
        own = rng.permutation(np.flatnonzero(digits.target == label))
        shares = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1]
        for client, part in enumerate(np.split(own, (shares * len(own)).astype(int))):
            home = Path(folder) / f"client-{client:03d}" / str(label)
            for number in part:
                home.mkdir(parents=True, exist_ok=True)
                paths.append(home / f"{number:04d}.png")
                pixels = np.round(digits.images[number] * (255 / WHITE))
                Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def main() -> None:
    """Write into a folder and say how many."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    print(f"{folder}: {len(write_digits(folder)):,} images")  # noqa: T201


if __name__ == "__main__":
    main()
