"""The kinds of figures: curves, dots, heat maps, densities, bars and scatter.

Each draws named values under the labels that it is given, and knows of no study.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from fedmeta.reporting.measures import Value, over_seeds
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import (
    FAINT,
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    WORSE,
    colours_of,
    label_ends,
    panels,
    say,
)
from fedmeta.reporting.wording import NOT_FINITE

FEW = 25  # a curve of so few points shows each of them
BAND = 0.18  # opacity
DASHES = (0, (4, 2))
SCALE = "cividis"  # even steps of lightness, the same to any colour vision


class Line(NamedTuple):
    """A curve.

    Attributes:
        values: By what is on the horizontal axis, with gaps where they are not finite.
        sd: Half the width of the band around it; or None.
        words: At its end in place of its last value, such as of a divergence.
        dashed: Whether it is thin and dashed.
        colour: Of its label, unless given.
    """

    values: pd.Series
    sd: pd.Series | None = None
    words: str = ""
    dashed: bool = False
    colour: str = ""


Lines = Mapping[str, Line]  # by label


class Axis(NamedTuple):
    """How a vertical axis is drawn and written.

    Attributes:
        title: What it shows.
        last: The format of a curve's last value.
        log: Whether it is logarithmic.
        zero: Whether it begins at zero; else a little below the lowest value.
    """

    title: str
    last: str
    log: bool = False
    zero: bool = True


ACCURACY = Axis("query records classified correctly", "{:.1%}")


def by_round(
    groups: Mapping[str, Mapping[str, Results]],
    column: str,
    colours: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Line]]:
    """Curves of a column of histories, the mean over seeds with its deviation."""
    lines = {}
    for title, group in groups.items():
        lines[title] = {}
        for label, found in group.items():
            curve = over_seeds(found, column)
            one = found.seeds == 1
            lines[title][label] = Line(
                curve["mean"],
                None if one else curve["sd"],
                found.diverged,
                colour=(colours or {}).get(label, ""),
            )
    return lines


def curves(
    groups: Mapping[str, Lines],
    title: str,
    axis: Axis = ACCURACY,
    x: str = "round",
    nothing: str = "no round has been evaluated",
) -> Figure:
    """Curves with bands, a panel a group, all with one vertical axis.

    A line has gaps where a value is not finite. Its label and last value stand at its
    end; where a training diverged, that is said in place of a value.
    """
    count = max(len(groups), 1)
    size = (9, 4.6) if count == 1 else (11.5, 4.4)
    figure, axes = panels(count, title, size, share_y=True)
    _vertical(axes[0], axis, [v for g in groups.values() for v in g.values()])
    if not groups:
        say(axes[0], nothing)
    for panel, (name, lines) in zip(axes, groups.items(), strict=False):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        _curves(panel, lines, axis, x, nothing)
    return figure


def _vertical(panel: Axes, axis: Axis, lines: Sequence[Line]) -> None:
    """Scale and ticks; before labels are placed."""
    values = np.concatenate([[], *(v.values.dropna() for v in lines)])
    if axis.log:
        panel.set_yscale("log")
        if len(positive := values[values > 0]):
            panel.set_ylim(positive.min() / 1.3, positive.max() * 1.3)
        panel.yaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        panel.yaxis.set_minor_locator(LogLocator(subs=[]))
    else:
        panel.yaxis.set_major_formatter(
            PercentFormatter(1.0, decimals=0 if axis.zero else None)
        )
        if axis.zero:
            panel.set_ylim(0, min(1.0, 1.08 * max([0.05, *values])))
        elif len(values):
            margin = max(0.08 * np.ptp(values), 0.005)
            panel.set_ylim(values.min() - margin, values.max() + margin)
    panel.set_ylabel(axis.title, fontsize=LABEL_SIZE)


def _curves(panel: Axes, lines: Lines, axis: Axis, x: str, nothing: str) -> None:
    panel.set_xlabel(x, fontsize=LABEL_SIZE)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    colours, ends = colours_of(lines), []
    for label, line in lines.items():
        colour, values, words = line.colour or colours[label], line.values, line.words
        if values.empty:
            if words:
                ends.append((f"{label} {words}", colour, np.nan))
            continue
        panel.plot(
            values,
            color=colour,
            linewidth=2,
            linestyle=DASHES if line.dashed else "-",
            marker="o" if len(values) <= FEW else None,
            markersize=3.5,
        )
        if line.sd is not None:
            low, high = values - line.sd, values + line.sd
            panel.fill_between(
                values.index, low, high, color=colour, alpha=BAND, linewidth=0
            )
        finite = values.dropna()
        if not words and len(finite) < len(values):
            gaps = values.index[values.isna()]
            more = " and on" if len(gaps) > 1 else ""
            words = f"{NOT_FINITE} at {x} {gaps[0]:,.0f}{more}"
        text = words or axis.last.format(finite.iloc[-1])
        ends.append((f"{label} {text}", colour, float(finite.iloc[-1])))
    if not ends:
        say(panel, nothing)
        return
    panel.margins(x=0.01)
    bottom = panel.get_ylim()[0]
    label_ends(panel, [(t, c, bottom if np.isnan(y) else y) for t, c, y in ends])


class Points(NamedTuple):
    """Dots, or a path of which the last is a dot."""

    x: pd.Series
    y: pd.Series
    colour: str
    path: bool = False
    dashed: bool = False


class Scatter(NamedTuple):
    """A panel of dots or paths.

    Attributes:
        title: Of the panel.
        points: By label.
        line: Where nothing changes: "diagonal" or "zero".
    """

    title: str
    points: dict[str, Points]
    line: str


def scatter(
    drawn: Sequence[Scatter], title: str, x: str, nothing: str = "nothing was measured"
) -> Figure:
    """One accuracy against another, in percent; labels stand beside the last panel."""
    figure, axes = panels(len(drawn), title, (11.5, 4.6))
    for panel, (name, points, line) in zip(axes, drawn, strict=True):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        panel.set_xlabel(x, fontsize=LABEL_SIZE)
        for side in (panel.xaxis, panel.yaxis):
            side.set_major_formatter(PercentFormatter(1.0))
        for label, (xs, ys, colour, path, dashed) in points.items():
            if not len(xs):
                continue
            style = {"color": colour, "linestyle": "--" if dashed else "-"}
            if path:
                panel.plot(xs, ys, linewidth=1.6, label=label, **style)
            shown = slice(-1, None) if path else slice(None)
            panel.plot(xs[shown], ys[shown], "o", color=colour)
        if not panel.lines:
            say(panel, nothing)
        elif line == "diagonal":
            panel.axline((0, 0), slope=1, color="#888888", linewidth=0.8)
        else:
            panel.axhline(0, color="#888888", linewidth=0.8)
    if axes[-1].get_legend_handles_labels()[0]:
        place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        axes[-1].legend(frameon=False, fontsize=SMALL_SIZE, **place)
    return figure


class Dots(NamedTuple):
    """A row of a figure: from one value to another, which is the dot."""

    label: str
    start: Value
    end: Value
    kind: str  # rows of a kind have one colour, and the first's dot as their mark


def dots(rows: Sequence[Dots], title: str, x: str, nothing: str) -> Figure:
    """A line from value to value a row, in percent; several seeds: their deviation."""
    figure, (panel,) = panels(1, title, (11, 1.2 + 0.36 * len(rows)))
    if all(row.end.missing for row in rows):
        say(panel, nothing)
        return figure
    colours = colours_of(dict.fromkeys(row.kind for row in rows))
    panel.grid(axis="y", visible=False)
    for kind, same in groupby(enumerate(rows), lambda pair: pair[1].kind):
        (first, taken), *others = same
        upright = [first - 0.4, first + len(others) + 0.4]
        panel.plot([float(taken.end)] * 2, upright, color=FAINT, linewidth=2)
        for place, row in [(first, taken), *others]:
            start, end, colour = float(row.start), float(row.end), colours[kind]
            panel.plot([start, end], [place] * 2, color=colour, linewidth=2)
            spread = row.end.by_seed.std() if len(row.end.by_seed) > 1 else None
            panel.errorbar(end, place, xerr=spread, marker="o", color=colour)
            panel.annotate(
                f"{row.end}",
                (np.nanmax([start, end, 0]), place),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL_SIZE,
                color=INK,
            )
    panel.set_yticks(range(len(rows)), [row.label for row in rows])
    for label, row in zip(panel.get_yticklabels(), rows, strict=True):
        label.set_color(colours[row.kind])
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    highest = np.nanmax([5, *(float(v) for row in rows for v in (row.start, row.end))])
    panel.set_xlim(0, 1.12 * highest)
    panel.xaxis.set_major_formatter(PercentFormatter(100, decimals=0))
    panel.set_xlabel(x, fontsize=LABEL_SIZE)
    return figure


class Map(NamedTuple):
    """A heat map.

    Attributes:
        values: [rows, columns] under their labels; a missing one stays blank.
        lowest: Of the scale; what is below has its darkest colour.
        highest: Of the scale.
        text: The format of the values in the cells; empty: none are written.
        framed: Places of cells to mark, (row, column).
        square: Whether rows and columns are the same users, labelled by kinds.
    """

    values: pd.DataFrame
    lowest: float
    highest: float
    text: str = ""
    framed: Sequence[tuple[int, int]] = ()
    square: bool = False

    @classmethod
    def of(
        cls,
        values: Mapping[Hashable, Mapping[Hashable, Value]],
        text: str,
        scaled_by: Sequence[Hashable],
        framed: Sequence[tuple[int, int]] = (),
    ) -> Self:
        """A map of values by column and row, on the scale of some of its columns."""
        table = pd.DataFrame(
            {c: {r: float(v) for r, v in rows.items()} for c, rows in values.items()}
        )
        scale = table[list(scaled_by)].to_numpy(float)
        scale = scale[np.isfinite(scale)]
        lowest, highest = (scale.min(), scale.max()) if scale.size else (0.0, 1.0)
        return cls(table, lowest, max(highest, lowest + 0.1), text, framed)


def heat_maps(
    maps: Mapping[str, Map],
    title: str,
    *,
    x: str = "",
    nothing: str = "nothing was measured",
) -> Figure:
    """Heat maps, a panel each; equal labels side by side become one block.

    Square ones stand side by side, others below each other.

    Args:
        maps: By the panels' titles.
        title: Of the figure.
        x: What the columns are.
        nothing: Said in a panel without values.
    """
    count = max(len(maps), 1)
    square = any(drawn.square for drawn in maps.values())
    height = 0.9 + sum(
        1.0 + 0.42 * max(len(drawn.values), 2) for drawn in maps.values()
    )
    figure, axes = panels(
        count,
        title,
        (11.5, 5 if square else max(height, 2.5)),
        rows=1 if square else count,
    )
    for panel, (name, drawn) in zip(axes, maps.items(), strict=False):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        values = drawn.values.to_numpy(float)
        if not np.isfinite(values).any():
            say(panel, nothing)
            continue
        panel.grid(visible=False)
        panel.spines[["left", "bottom"]].set_visible(False)
        panel.tick_params(length=0)
        image = panel.imshow(
            np.ma.masked_invalid(values),
            cmap=SCALE,
            vmin=drawn.lowest,
            vmax=drawn.highest,
            aspect="auto",
            interpolation="nearest",
        )
        if drawn.text:
            _write_cells(panel, image, values, drawn.text)
        for row, column in drawn.framed:
            frame = {"fill": False, "edgecolor": WORSE, "linewidth": 2.5}
            corner = (column - 0.5, row - 0.5)
            panel.add_patch(Rectangle(corner, 1, 1, **frame, clip_on=False))
        poorer = np.nanmin(values) < drawn.lowest
        for labels, ticks, line in (
            (drawn.values.columns, panel.set_xticks, panel.axvline),
            (drawn.values.index, panel.set_yticks, panel.axhline),
        ):
            if square:
                _blocks(list(labels), ticks, line)
            else:
                ticks(range(len(labels)), map(str, labels))
        if square:
            panel.set_aspect("equal")
        bar = figure.colorbar(
            image,
            ax=panel,
            extend="min" if poorer else "neither",
            shrink=0.8 if square else 1.0,
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL_SIZE)
    if not maps:
        say(axes[0], nothing)
    axes[-1].set_xlabel(x, fontsize=LABEL_SIZE)
    return figure


def _write_cells(panel: Axes, image: Any, values: np.ndarray, text: str) -> None:
    """Every cell's value in it, in black or white, whichever can be read there."""
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        panel.text(
            column,
            row,
            text.format(value),
            ha="center",
            va="center",
            fontsize=SMALL_SIZE,
            color="black" if light else "white",
        )


def _blocks(
    labels: Sequence[Hashable], ticks: Callable[..., Any], line: Callable[..., Any]
) -> None:
    """A label in the middle of equal ones, and white lines between blocks."""
    blocks = [(label, len(list(same))) for label, same in groupby(labels)]
    ends = np.cumsum([size for _, size in blocks])
    for end in ends[:-1]:
        line(end - 0.5, color="white", linewidth=1.5)
    middles = [
        end - (size + 1) / 2 for end, (_, size) in zip(ends, blocks, strict=True)
    ]
    ticks(middles, [f"{label}\n{size} users" for label, size in blocks])
