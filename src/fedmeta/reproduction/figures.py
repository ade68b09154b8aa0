"""Figures over seeds, a column of panels a support fraction.

Legends stand below the panels, so that a figure can be set as wide as a page.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.fairness import GRID, client_accuracies, density
from fedmeta.reporting.style import (
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    colours_of,
    panels,
    say,
)
from fedmeta.reproduction.tables import mean_history, percent, sd_history

# support fraction -> algorithm's label -> a frame a seed
BySeed = Mapping[float, Mapping[str, Sequence[pd.DataFrame]]]

DASHES = (0, (4, 2))
BAND = 0.18  # opacity


def accuracy_bands(
    histories: BySeed, source: str, target: float | None = None
) -> Figure:
    """Validation accuracy by round, mean and standard deviation (paper, Fig. 2).

    Args:
        histories: A row an evaluated round.
        source: What the data are, for the title.
        target: An accuracy (fraction) to mark with a line.
    """
    figure, axes = _panels(histories, f"Validation accuracy by round · {source}")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].set_ylabel("query records classified correctly", fontsize=LABEL_SIZE)
    drawn = _each(
        axes,
        histories,
        lambda panel, by_label, colours: _bands(
            panel,
            by_label,
            colours,
            "validation_accuracy_after",
            "validation_accuracy_before",
        ),
    )
    for panel in axes:
        if target is not None:
            panel.axhline(target, color=INK, linewidth=0.8, linestyle=":")
    axes[0].set_ylim(0, min(1.0, axes[0].get_ylim()[1]))
    styles = [
        Line2D([], [], color=INK, linewidth=2, label="after adaptation"),
        Line2D([], [], color=INK, linewidth=1.1, linestyle=DASHES, label="before"),
    ]
    if target is not None:
        line = Line2D([], [], color=INK, linewidth=0.8, linestyle=":")
        line.set_label(f"target {percent(target)}")
        styles.append(line)
    _legend(figure, drawn, styles)
    return figure


def loss_bands(histories: BySeed, source: str) -> Figure:
    """Loss by round on validation and on training clients (paper, Fig. 2)."""
    title = f"Loss by round · {source}"
    figure, axes = _panels(histories, title, rows=2)
    columns = len(axes) // 2
    drawn: dict[str, str] = {}
    for place, (who, name) in enumerate(
        [("validation, after adaptation", "validation_loss_after")]
        + [("training clients", "train_loss")]
    ):
        row = axes[place * columns : (place + 1) * columns]
        row[0].set_yscale("log")
        row[0].set_ylabel(f"{who}\nnats a record (log scale)", fontsize=LABEL_SIZE)
        drawn |= _each(
            row,
            histories,
            lambda panel, by_label, colours, name=name: _bands(
                panel, by_label, colours, name, None
            ),
        )
        row[0].yaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
        row[0].yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        row[0].yaxis.set_minor_locator(LogLocator(subs=[]))
    for panel in axes[columns:]:
        panel.set_title("")
    _legend(figure, drawn, [])
    return figure


def client_density(scores: BySeed, source: str, min_query: int = 1) -> Figure:
    """How test clients' accuracies after adaptation are spread (paper, Fig. 4 and 5).

    The clients of all seeds together: each is counted once a seed. Triangles mark the
    means.
    """
    title = f"Accuracy of each test client after adaptation · {source}"
    figure, axes = _panels(scores, title)
    lowest = 1.0

    def draw(
        panel: Axes,
        by_label: Mapping[str, Sequence[pd.DataFrame]],
        colours: Mapping[str, str],
    ) -> None:
        nonlocal lowest
        for label, tables in by_label.items():
            if any(map(divergence, tables)):
                continue  # clients of the other seeds alone would say too much
            after = np.concatenate(
                [
                    client_accuracies(table, min_query)["after"].to_numpy(float)
                    for table in tables
                ]
            )
            if not len(after):
                continue
            lowest = min(lowest, np.quantile(after, 0.01))
            curve = density(after)
            if curve is None:
                panel.axvline(after.mean(), color=colours[label], linewidth=2)
            else:
                panel.plot(GRID, curve, color=colours[label], linewidth=2)
            panel.plot(
                after.mean(),
                0,
                marker="^",
                markersize=8,
                color=colours[label],
                clip_on=False,
                transform=panel.get_xaxis_transform(),
            )

    drawn = _each(axes, scores, draw)
    for panel in axes:
        panel.set_xlim(max(0.0, np.floor(10 * lowest - 0.5) / 10), 1)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_xlabel("client's query records right", fontsize=LABEL_SIZE)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("density of clients", fontsize=LABEL_SIZE)
    _legend(figure, drawn, [])
    return figure


def _panels(frames: BySeed, title: str, rows: int = 1) -> tuple[Figure, list[Axes]]:
    columns = max(len(frames), 1)
    size = (1.2 + 3.6 * max(columns, 2), 0.9 + 3.0 * rows)
    figure, axes = panels(columns * rows, title, size, rows=rows)
    for start in range(0, len(axes), columns):  # a row has one scale
        for panel in axes[start + 1 : start + columns]:
            panel.sharey(axes[start])
            panel.tick_params(labelleft=False)
    return figure, axes


def _each(
    axes: Sequence[Axes],
    frames: BySeed,
    draw: Callable[[Axes, Mapping, Mapping[str, str]], None],
) -> dict[str, str]:
    """Draws every support fraction's panel; the colours by label."""
    labels = dict.fromkeys(label for by_label in frames.values() for label in by_label)
    colours = colours_of(labels)
    if not frames:
        say(axes[0], "nothing is recorded")
    for panel, (p, by_label) in zip(axes, frames.items(), strict=False):
        seeds = max((len(tables) for tables in by_label.values()), default=0)
        title = f"{percent(p)} support, {seeds} seed{'s' * (seeds != 1)}"
        panel.set_title(title, fontsize=LABEL_SIZE, loc="left", color=INK)
        draw(panel, by_label, colours)
    return colours


def _bands(
    panel: Axes,
    by_label: Mapping[str, Sequence[pd.DataFrame]],
    colours: Mapping[str, str],
    solid: str,
    dashed: str | None,
) -> None:
    panel.set_xlabel("round", fontsize=LABEL_SIZE)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    means = {label: mean_history(tables) for label, tables in by_label.items()}
    drawn = []
    for label, mean in means.items():
        if solid not in mean:
            continue
        sd = sd_history(by_label[label])[solid].to_numpy()
        rounds, values = mean["round"].to_numpy(), mean[solid].to_numpy()
        colour = colours[label]
        panel.plot(rounds, values, color=colour, linewidth=2)
        low, high = values - sd, values + sd
        panel.fill_between(rounds, low, high, color=colour, alpha=BAND, linewidth=0)
        drawn.append(values)
        if (words := divergence(mean)) and len(mean):
            style = {"color": colour, "fontsize": SMALL_SIZE}
            panel.annotate(words, (rounds[-1], values[-1]), **style)
    for label, mean in means.items():
        if dashed is None or dashed not in mean:
            continue
        values = mean[dashed].to_numpy()
        # FedAvg(Meta) before adapting is FedAvg: its dashes would cover that line
        if not any(np.array_equal(values, other) for other in drawn):
            panel.plot(
                mean["round"].to_numpy(),
                values,
                color=colours[label],
                linewidth=1.1,
                linestyle=DASHES,
            )
    panel.margins(x=0.01)


def _legend(
    figure: Figure, colours: Mapping[str, str], styles: Sequence[Line2D]
) -> None:
    lines = [
        Line2D([], [], color=colour, linewidth=2, label=label)
        for label, colour in colours.items()
    ]
    if lines:
        figure.legend(
            handles=[*lines, *styles],
            loc="outside lower left",
            ncols=4,
            frameon=False,
            fontsize=SMALL_SIZE,
        )
