"""Synthetic handwriting in LEAF's FEMNIST layout, drawn from nothing but a seed.

Each writer has habits that choose his letterforms (`glyphs`), and a hand: slant, size,
proportions, stroke width and a smooth distortion. Records are drawn as strokes with
anti-aliased edges, ink 0.0 on a background of 1.0 as LEAF has it. A stand-in for
tests, demos and machines without the data: its accuracies say nothing about FEMNIST.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedmeta.benchmarks.femnist.glyphs import CONVENTIONS, HABITS, segments
from fedmeta.benchmarks.femnist.parse import SIDE
from fedmeta.benchmarks.femnist.shards import CHARACTERS, CLIENTS_A_SHARD, write_shard
from fedmeta.core.bounds import Count, Seed
from fedmeta.data.errors import check_range

DIGIT_WEIGHT = 2.0  # a digit's frequency over a letter's (5 in FEMNIST)
EXCEPTIONS = 0.03  # share of classes in which a writer breaks his own habit
CHUNK = 16  # images drawn together: the temporaries stay in a core's cache


class Hand(NamedTuple):
    """What a writer's records have in common besides the forms; lengths in pixels."""

    scale: float  # pixels per unit of a form (a capital is 10 units high)
    aspect: float  # width over height
    small: float  # further scale of small letters
    slant: float  # x per unit of y upwards
    radius: float  # half of the stroke width
    offset: np.ndarray  # [2] of the centre of a character
    bend: np.ndarray  # [2, 5] coefficients of the distortion


def writer_records(
    seed: int, writer: int, records: tuple[int, int] = (40, 120)
) -> tuple[np.ndarray, np.ndarray]:
    """All records of one writer, a function of its arguments alone.

    Args:
        seed: of the whole population.
        writer: index of the writer, from 0.
        records: least and greatest number of records, both possible.

    Returns:
        pixels uint8 [n, 784], 255 for the background, and labels uint8 [n] in 0..61.
    """
    rng = np.random.default_rng([seed, writer])
    habits = rng.integers(0, 2, len(HABITS))
    values = np.where(
        rng.random(len(CHARACTERS)) < EXCEPTIONS,
        rng.integers(0, 2, len(CHARACTERS)),
        habits[[HABITS.index(CONVENTIONS[c][0]) for c in CHARACTERS]],
    )
    hand = _draw_hand(rng)
    n = int(rng.integers(records[0], records[1] + 1))
    labels = np.searchsorted(_class_cdf(), rng.random(n), side="right")
    pixels = _render(_place(2 * labels + values[labels], hand, rng), hand, rng)
    return pixels, labels.astype(np.uint8)


def write_sample(
    out_dir: Path,
    writers: Count = 100,
    records_per_writer: tuple[Count, Count] = (40, 120),
    seed: Seed = 0,
) -> list[Path]:
    """Write LEAF shards of synthetic writers; the same arguments give the same bytes.

    A shard has LEAF's keys and "synthetic", a text that says how it was made. Each is
    put in place only when it is complete.

    Args:
        out_dir: made when missing; shards of the same name are replaced.
        writers: number of clients, "synthetic_0000" and so on, 100 in a shard.
        records_per_writer: least and greatest number of records of a writer.
        seed: of the whole population.

    Returns:
        The paths of the shards.

    Raises:
        DataError: for an empty range.
    """
    low, high = records_per_writer
    check_range("records_per_writer", low, high)
    note = (
        "drawn by fedmeta.benchmarks.femnist.synthetic: no real handwriting "
        f"(seed {seed}, {writers} writers, {low} to {high} records each)"
    )
    paths = []
    for number, first in enumerate(range(0, writers, CLIENTS_A_SHARD)):
        clients = {
            f"synthetic_{writer:04d}": writer_records(seed, writer, records_per_writer)
            for writer in range(first, min(first + CLIENTS_A_SHARD, writers))
        }
        paths.append(Path(out_dir) / f"all_data_{number}.json")
        write_shard(paths[-1], clients, synthetic=note)
    return paths


def _draw_hand(rng: np.random.Generator) -> Hand:
    return Hand(
        scale=rng.uniform(1.5, 2.0),
        aspect=rng.uniform(0.75, 1.1),
        small=rng.uniform(0.8, 1.2),
        slant=rng.uniform(-0.15, 0.4),
        radius=rng.uniform(0.6, 1.2),
        offset=rng.uniform(-1, 1, 2),
        bend=rng.uniform(-0.04, 0.04, (2, 5)),
    )


@cache
def _class_cdf() -> np.ndarray:
    weights = np.array([DIGIT_WEIGHT if c.isdigit() else 1.0 for c in CHARACTERS])
    cdf = np.cumsum(weights) / weights.sum()
    cdf[-1] = 1.0
    return cdf


@cache
def _form_table() -> np.ndarray:
    """[2 x 62, k, 2 ends, 2 xy]: class c with habit value v in row 2c + v.

    Shorter forms are filled up with their last segment, which changes no distance.
    """
    forms = [segments(form) for c in CHARACTERS for form in CONVENTIONS[c][1:]]
    longest = max(len(form) for form in forms)
    return np.stack(
        [np.concatenate([f, np.repeat(f[-1:], longest - len(f), 0)]) for f in forms]
    )


def _place(rows: np.ndarray, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """[n, k, 2 ends, 2 xy] in pixels: the forms as this hand writes them this time."""
    n = len(rows)
    uv = _form_table()[rows] / 5  # about -1..1
    u, v = uv[..., 0], uv[..., 1]
    # polynomials rather than sines: the same bits on every machine
    basis = np.stack([u * u, u * v, v * v, u * u * v, u * v * v], axis=-1)
    bend = hand.bend + rng.uniform(-0.05, 0.05, (n, 2, 5))
    uv = uv + (basis[..., None, :] * bend[:, None, None]).sum(axis=-1)
    lower = rows // 2 >= CHARACTERS.index("a")
    size = 5 * hand.scale * np.where(lower, hand.small, 1.0)
    size = size * rng.uniform(0.93, 1.07, n)
    slant = hand.slant + rng.uniform(-0.06, 0.06, n)
    x = (uv[..., 0] * hand.aspect - uv[..., 1] * slant[:, None, None]) * size[
        :, None, None
    ]
    y = uv[..., 1] * size[:, None, None]
    centre = (SIDE - 1) / 2 + hand.offset + rng.uniform(-0.6, 0.6, (n, 2))
    return np.stack([x, y], axis=-1) + centre[:, None, None]


def _render(lines: np.ndarray, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """uint8 [n, 784]: ink within the radius of a segment, one pixel of soft edge."""
    radius = (hand.radius * rng.uniform(0.9, 1.1, len(lines))).astype(np.float32)
    chunks = [
        _ink(lines[i : i + CHUNK].astype(np.float32), radius[i : i + CHUNK])
        for i in range(0, len(lines), CHUNK)
    ]
    return np.concatenate(chunks).reshape(len(lines), SIDE * SIDE)


def _ink(lines: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """uint8 [b, 28, 28] of segments [b, k, 2, 2] and stroke half widths [b]."""
    start, step = lines[:, :, 0], lines[:, :, 1] - lines[:, :, 0]
    length = np.sqrt(step[..., 0] ** 2 + step[..., 1] ** 2)  # [b, k]
    along = step / np.where(length > 0, length, 1)[..., None]
    along[length == 0] = 1, 0  # a point has a distance in any direction
    grid = np.arange(SIDE, dtype=np.float32)
    # a pixel's coordinates along and across a segment are sums of a part of its
    # column and a part of its row, so whole images need additions only
    column = grid - start[..., :1]  # [b, k, 28]
    row = grid - start[..., 1:]
    along_x, along_y = along[..., :1], along[..., 1:]
    h_column, h_row = column * along_x, row * along_y
    n_column, n_row = column * along_y, row * -along_x
    nearest = np.full((len(lines), SIDE, SIDE), np.inf, dtype=np.float32)
    h, across, inside = (np.empty_like(nearest) for _ in range(3))
    for k in range(lines.shape[1]):
        np.add(h_column[:, k, None, :], h_row[:, k, :, None], out=h)
        np.add(n_column[:, k, None, :], n_row[:, k, :, None], out=across)
        np.maximum(h, 0, out=inside)
        np.minimum(inside, length[:, k, None, None], out=inside)
        np.subtract(h, inside, out=h)
        np.multiply(h, h, out=h)
        np.multiply(across, across, out=across)
        np.add(h, across, out=h)
        np.minimum(nearest, h, out=nearest)
    ink = np.clip(radius[:, None, None] + 0.5 - np.sqrt(nearest), 0, 1)
    return np.rint(255 * (1 - ink)).astype(np.uint8)
