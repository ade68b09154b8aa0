"""The kinds of figures beside curves: dots, heat maps and scatter.

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
from matplotlib.ticker import PercentFormatter

from fedmeta.reporting import style as s
from fedmeta.reporting.measures import Value
from fedmeta.reporting.style import Keywords

SCALE = "cividis"  # even steps of lightness, the same to any colour vision


class Points(NamedTuple):
    """Dots, or a path of which the last is a dot."""

    x: pd.Series
    y: pd.Series
    colour: str
    path: bool = False
    dashed: bool = False


class Scatter(NamedTuple):
    """A panel of dots or paths."""

    points: dict[str, Points]  # by label
    # where nothing changes: "diagonal" or "zero"; "unit" is the diagonal of a
    # square of all shares, shaded below
    line: str


def scatter(
    groups: Mapping[str, Scatter],
    title: str,
    x: str,
    nothing: str = "nothing was measured",
    y: str = "",
) -> Figure:
    """One accuracy against another, in percent.

    The labels of several points stand beside the last panel; a label that is its
    panel's title has its colour.
    """
    unit = all(panel.line == "unit" for panel in groups.values())
    size = (2.6 * max(len(groups), 2) + 0.5, 3.5) if unit else (11.5, 4.6)
    figure, drawn = s.panels(groups, title, size, x)
    for panel, name, (points, line) in drawn:
        if len(points) == 1:
            own: Keywords = {"color": next(iter(points.values())).colour}
            panel.set_title(name, fontsize=s.LABEL_SIZE, loc="left", **own)
        for side in (panel.xaxis, panel.yaxis):
            side.set_major_formatter(PercentFormatter(1.0))
        for label, (xs, ys, colour, path, dashed) in points.items():
            if not len(xs):
                continue
            if path:
                dashes = "--" if dashed else "-"
                panel.plot(xs, ys, dashes, color=colour, linewidth=1.6, label=label)
            shown = slice(-1, None) if path else slice(None)
            alpha = 1 if path else 0.55
            panel.plot(xs[shown], ys[shown], "o", color=colour, alpha=alpha)
        if line == "unit":
            panel.fill_between([0, 1], [0, 1], color=s.WORSE, alpha=0.08, linewidth=0)
            limits = (-0.02, 1.02)  # a dot at 100 % is seen whole
            panel.set(xlim=limits, ylim=limits, aspect="equal", xticks=[0, 0.5, 1])
        if not panel.lines:
            s.say(panel, nothing)
        elif line == "zero":
            panel.axhline(0, color="#888888", linewidth=0.8)
        else:
            panel.axline((0, 0), slope=1, color="#888888", linewidth=0.8)
    first, *_, last = [figure.axes[0], *figure.axes]
    first.set_ylabel(y, fontsize=s.LABEL_SIZE)
    if last.get_legend_handles_labels()[0]:
        place: Keywords = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        last.legend(frameon=False, fontsize=s.SMALL_SIZE, **place)
    return figure


class Dots(NamedTuple):
    """A row of a figure: from one value to another, which is the dot."""

    label: str
    start: Value
    end: Value
    kind: str  # rows of a kind have one colour, and the first's dot as their mark


def dots(rows: Sequence[Dots], title: str, x: str, nothing: str) -> Figure:
    """A line from value to value a row, in percent; several seeds: their deviation."""
    size = (11, 1.2 + 0.36 * len(rows))
    figure, [(panel, _, _)] = s.panels({"": rows}, title, size)
    if all(row.end.missing for row in rows):
        s.say(panel, nothing)
        return figure
    colours = s.colours_of(dict.fromkeys(row.kind for row in rows))
    panel.grid(axis="y", visible=False)
    for kind, same in groupby(enumerate(rows), lambda pair: pair[1].kind):
        (first, taken), *others = same
        upright = [first - 0.4, first + len(others) + 0.4]
        panel.plot([float(taken.end)] * 2, upright, color=s.FAINT, linewidth=2)
        for place, row in [(first, taken), *others]:
            start, end, colour = float(row.start), float(row.end), colours[kind]
            panel.plot([start, end], [place] * 2, color=colour, linewidth=2)
            spread = row.end.by_seed.std() if len(row.end.by_seed) > 1 else None
            panel.errorbar(end, place, xerr=spread, marker="o", color=colour)
            s.write_beside(panel, f"{row.end}", np.nanmax([start, end, 0]), place)
    panel.set_yticks(range(len(rows)), [row.label for row in rows])
    for label, row in zip(panel.get_yticklabels(), rows, strict=True):
        label.set_color(colours[row.kind])
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    highest = np.nanmax([5, *(float(v) for row in rows for v in (row.start, row.end))])
    panel.set_xlim(0, 1.12 * highest)
    panel.xaxis.set_major_formatter(PercentFormatter(100, decimals=0))
    panel.set_xlabel(x, fontsize=s.LABEL_SIZE)
    return figure


class Map(NamedTuple):
    """A heat map."""

    # [rows, columns] under their labels; a missing one stays blank
    values: pd.DataFrame
    lowest: float  # of the scale; what is below has its darkest colour
    highest: float  # of the scale
    text: str = ""  # the format of the values in the cells; empty: none are written
    framed: Sequence[tuple[int, int]] = ()  # places of cells to mark, (row, column)
    # whether rows and columns are the same users, labelled by kinds
    square: bool = False

    @classmethod
    def of(
        cls,
        values: Mapping[Any, Mapping[Any, Value]],
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
        maps: by the panels' titles.
    """
    square = any(drawn.square for drawn in maps.values())
    height = 0.9 + sum(1.0 + 0.42 * max(len(m.values), 2) for m in maps.values())
    size = (11.5, 5 if square else max(height, 2.5))
    rows = 1 if square else max(len(maps), 1)
    figure, found = s.panels(maps, title, size, x, nothing, rows=rows)
    for panel, _, drawn in found:
        values = drawn.values.to_numpy(float)
        if not np.isfinite(values).any():
            s.say(panel, nothing)
            continue
        panel.grid(visible=False)
        panel.spines[["left", "bottom"]].set_visible(False)
        panel.tick_params(length=0)
        how: Keywords = {"cmap": SCALE, "aspect": "auto", "interpolation": "nearest"}
        how |= {"vmin": drawn.lowest, "vmax": drawn.highest}
        image = panel.imshow(np.ma.masked_invalid(values), **how)
        if drawn.text:
            _write_cells(panel, image, values, drawn.text)
        for row, column in drawn.framed:
            corner = (column - 0.5, row - 0.5)
            frame: Keywords = {"fill": False, "edgecolor": s.WORSE, "linewidth": 2.5}
            panel.add_patch(Rectangle(corner, 1, 1, **frame, clip_on=False))
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
        extend = "min" if np.nanmin(values) < drawn.lowest else "neither"
        shrink = 0.8 if square else 1.0
        bar = figure.colorbar(image, ax=panel, extend=extend, shrink=shrink)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=s.SMALL_SIZE)
    return figure


def _write_cells(panel: Axes, image: Any, values: np.ndarray, text: str) -> None:
    """Every cell's value in it, in black or white, whichever can be read there."""
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        style: Keywords = {"ha": "center", "va": "center", "fontsize": s.SMALL_SIZE}
        colour = "black" if light else "white"
        panel.text(column, row, text.format(value), color=colour, **style)


def _blocks(
    labels: Sequence[Hashable], ticks: Callable[..., Any], line: Callable[..., Any]
) -> None:
    """A label in the middle of equal ones, and white lines between blocks."""
    blocks = [(label, len(list(same))) for label, same in groupby(labels)]
    ends = np.cumsum([size for _, size in blocks])
    for end in ends[:-1]:
        line(end - 0.5, color="white", linewidth=1.5)
    ticks(
        ends - np.diff(ends, prepend=0) / 2 - 0.5,
        [f"{label}\n{size} users" for label, size in blocks],
    )
