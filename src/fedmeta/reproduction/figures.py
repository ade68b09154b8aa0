"""Figures over seeds, a column of panels a support fraction."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.fairness import client_accuracies
from fedmeta.reporting.figure_kinds import ACCURACY, LOSS, Line, bands, densities, line
from fedmeta.reproduction.tables import percent

# support fraction -> algorithm's label -> a frame a seed
BySeed = Mapping[float, Mapping[str, Sequence[pd.DataFrame]]]
T = TypeVar("T")


def accuracy_bands(
    histories: BySeed, source: str, target: float | None = None
) -> Figure:
    """Validation accuracy by round, mean and standard deviation (paper, Fig. 2).

    Args:
        histories: A row an evaluated round.
        source: What the data are, for the title.
        target: An accuracy (fraction) to mark with a line.
    """
    names = ("validation_accuracy_after", "validation_accuracy_before")
    rows = [(ACCURACY, _groups(histories, lambda tables: _line(tables, *names)))]
    return bands(rows, f"Validation accuracy by round · {source}", target)


def loss_bands(histories: BySeed, source: str) -> Figure:
    """Loss by round on validation and on training clients (paper, Fig. 2)."""
    rows = [
        (
            LOSS._replace(title=f"{who}\n{LOSS.title}"),
            _groups(histories, lambda tables, name=name: _line(tables, name)),
        )
        for who, name in (
            ("validation, after adaptation", "validation_loss_after"),
            ("training clients", "train_loss"),
        )
    ]
    return bands(rows, f"Loss by round · {source}")


def client_density(scores: BySeed, source: str, min_query: int = 1) -> Figure:
    """How test clients' accuracies after adaptation are spread (paper, Fig. 4 and 5).

    The clients of all seeds together: each is counted once a seed. Triangles mark the
    means.
    """

    def accuracies(tables: Sequence[pd.DataFrame]) -> np.ndarray:
        if any(map(divergence, tables)):
            return np.array([])  # clients of the other seeds alone would say too much
        found = [client_accuracies(table, min_query)["after"] for table in tables]
        return np.concatenate(found).astype(float)

    title = f"Accuracy of each test client after adaptation · {source}"
    return densities(_groups(scores, accuracies), title, "client's query records right")


def _line(tables: Sequence[pd.DataFrame], *names: str) -> Line:
    words = next(filter(None, map(divergence, tables)), "")
    return line(tables, *names, words=words)


def _groups(
    frames: BySeed, made: Callable[[Sequence[pd.DataFrame]], T]
) -> dict[str, dict[str, T]]:
    """By the panels' titles, which say how many seeds there are."""
    groups = {}
    for p, by_label in frames.items():
        seeds = max((len(tables) for tables in by_label.values()), default=0)
        title = f"{percent(p)} support, {seeds} seed{'s' * (seeds != 1)}"
        groups[title] = {label: made(tables) for label, tables in by_label.items()}
    return groups
