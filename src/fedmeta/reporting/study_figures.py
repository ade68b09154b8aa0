"""Figures that several studies draw: curves by round in panels, and heat maps."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from fedmeta.reporting.figures import curves_by_round
from fedmeta.reporting.study_scores import curve
from fedmeta.reporting.style import INK, LABEL_SIZE, SMALL_SIZE, panels, say
from fedmeta.reporting.tables import Tables

Groups = Mapping[str, Tables]  # a panel's title -> a variant's label -> its history

SCALE = "cividis"  # even steps of lightness, the same to any colour vision


def accuracy_by_round(
    groups: Groups, title: str, colours: Mapping[str, str] | None = None
) -> Figure:
    """Validation accuracy after personalisation, a panel a group of variants.

    Args:
        groups: A panel's title -> a variant's label -> its history.
        title: Of the figure; says what the data are.
        colours: By label; those of ``colours_of`` unless given.
    """
    column = "validation_accuracy_after"
    figure, axes = _panels_of(groups, title)
    highest = max([0.05, *_values(groups, column)])
    axes[0].set_ylim(0, min(1.0, 1.08 * highest))  # before labels are placed
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].set_ylabel("query records classified correctly", fontsize=LABEL_SIZE)
    for panel, histories in zip(axes, groups.values(), strict=False):
        curves_by_round(panel, histories, column, None, "{:.1%}", colours=colours)
    return figure


def magnitude_by_round(groups: Groups, column: str, title: str, axis: str) -> Figure:
    """A positive quantity on a logarithmic axis, a panel a group of variants.

    Args:
        groups: A panel's title -> a variant's label -> its history.
        column: The quantity; histories that lack it are not drawn.
        title: Of the figure; says what the data are.
        axis: What the quantity is.
    """
    having = {
        name: {label: table for label, table in group.items() if column in table}
        for name, group in groups.items()
    }
    figure, axes = _panels_of(having, title)
    axes[0].set_yscale("log")
    if positive := [value for value in _values(having, column) if value > 0]:
        axes[0].set_ylim(min(positive) / 1.3, max(positive) * 1.3)
    axes[0].yaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[0].yaxis.set_minor_locator(LogLocator(subs=[]))
    axes[0].set_ylabel(f"{axis} (log scale)", fontsize=LABEL_SIZE)
    for panel, histories in zip(axes, having.values(), strict=False):
        curves_by_round(panel, histories, column, None, "{:.2g}")
    return figure


def heat_map(
    panel: Axes, values: np.ndarray, lowest: float, highest: float
) -> AxesImage:
    """Cells coloured by their values, [rows, columns]; a missing one stays blank."""
    panel.grid(visible=False)
    panel.spines[["left", "bottom"]].set_visible(False)
    return panel.imshow(
        np.ma.masked_invalid(values),
        cmap=SCALE,
        vmin=lowest,
        vmax=highest,
        aspect="auto",
        interpolation="nearest",
    )


def write_cells(image: AxesImage, values: np.ndarray, text: str) -> None:
    """Every cell's value in it, in black or white, whichever can be read there."""
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        image.axes.text(
            column,
            row,
            text.format(value),
            ha="center",
            va="center",
            fontsize=SMALL_SIZE,
            color="black" if light else "white",
        )


def _panels_of(groups: Groups, title: str) -> tuple[Figure, Sequence[Axes]]:
    """A panel a group, all with one vertical axis."""
    count = max(len(groups), 1)
    size = (9, 4.6) if count == 1 else (11.5, 4.4)
    figure, axes = panels(count, title, size, share_y=True)
    for panel, name in zip(axes, groups, strict=False):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
    if not groups:
        say(axes[0], "no round has been evaluated")
    return figure, axes


def _values(groups: Groups, column: str) -> list[float]:
    tables: list[pd.DataFrame] = [t for g in groups.values() for t in g.values()]
    return [float(v) for table in tables for v in curve(table, column).dropna()]
