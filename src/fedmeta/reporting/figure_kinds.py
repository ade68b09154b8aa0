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
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from fedmeta.reporting.fairness import GRID, density
from fedmeta.reporting.measures import Value, mean_and_sd
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
        beside: Another curve of the same training, thin and dashed; or None.
        words: At its end in place of its last value, such as of a divergence.
        dashed: Whether it is dashed itself.
        colour: Of its label, unless given.
    """

    values: pd.Series
    sd: pd.Series | None = None
    beside: pd.Series | None = None
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


LOSS = Axis("nats a record (log scale)", "{:.2f}", log=True)


def by_round(
    groups: Mapping[str, Mapping[str, Results]],
    column: str,
    colours: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Line]]:
    """Curves of a column of histories, the mean over seeds with its deviation."""
    return {
        title: {
            label: line(
                [rows for _, rows in found.histories.groupby("seed", dropna=False)],
                column,
                words=found.diverged,
                colour=(colours or {}).get(label, ""),
            )
            for label, found in group.items()
        }
        for title, group in groups.items()
    }


def line(
    histories: Sequence[pd.DataFrame],
    column: str,
    beside: str | None = None,
    **style: str,
) -> Line:
    """A curve over histories, one a seed, and perhaps one beside it.

    Of several it is their mean, at the rounds that all were evaluated at.
    """
    found = [mean_and_sd(histories, name) for name in (column, beside) if name]
    sd = found[0]["sd"] if len(histories) > 1 else None
    return Line(found[0]["mean"], sd, *(f["mean"] for f in found[1:]), **style)


def curves(
    groups: Mapping[str, Lines],
    title: str,
    axis: Axis = ACCURACY,
    x: str = "round",
    nothing: str = "no round has been evaluated",
    *,
    shared: bool = True,
    target: float | None = None,
) -> Figure:
    """Curves with bands, a panel a group.

    A line has gaps where a value is not finite. Its label and last value stand at its
    end; where a training diverged, that is said in place of a value.

    Args:
        groups: By the panels' titles.
        title: Of the figure.
        axis: The vertical one.
        x: What is on the horizontal axis.
        nothing: Said in a panel without curves.
        shared: Whether all panels have one vertical axis.
        target: To mark with a line.
    """
    count = max(len(groups), 1)
    size = (9, 4.6) if count == 1 else (11.5, 4.4)
    figure, axes = panels(count, title, size, share_y=shared)
    scaled = groups.values() if shared else [{}] * len(groups)
    _vertical(axes[0], axis, [v for g in scaled for v in g.values()], target)
    axes[0].set_ylabel(axis.title, fontsize=LABEL_SIZE)
    if not groups:
        say(axes[0], nothing)
    for panel, (name, lines) in zip(axes, groups.items(), strict=False):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        if not shared:
            _vertical(panel, axis, list(lines.values()), target)
        panel.set_xlabel(x, fontsize=LABEL_SIZE)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ends = _draw(panel, lines, axis, x)
        if not ends:
            say(panel, nothing)
            continue
        panel.margins(x=0.01)
        bottom = panel.get_ylim()[0]
        placed = [(t, c, bottom if np.isnan(y) else y) for t, c, y in ends.values()]
        label_ends(panel, placed)
        if len(groups) == 1 and any(v.beside is not None for v in lines.values()):
            above = {"loc": "lower right", "bbox_to_anchor": (1, 1.0), "ncols": 2}
            style = {"frameon": False, "fontsize": SMALL_SIZE, "borderaxespad": 0.2}
            panel.legend(handles=_styles(), **above, **style)
        if target is not None:
            panel.axhline(target, color=INK, linewidth=0.8, linestyle=":")
            panel.annotate(
                f"target {target:.0%}",
                (0.005, target),
                xycoords=panel.get_yaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=SMALL_SIZE,
                color=INK,
            )
    return figure


def bands(
    rows: Sequence[tuple[Axis, Mapping[str, Lines]]],
    title: str,
    target: float | None = None,
) -> Figure:
    """Curves with bands in rows of panels, a column a group; a legend is below them.

    Args:
        rows: The vertical axis that a row has, and its groups by title.
        title: Of the figure.
        target: To mark with a line.
    """
    figure, axes = _in_rows([groups for _, groups in rows], title)
    width = len(axes) // len(rows)
    for place, (axis, groups) in enumerate(rows):
        row = axes[place * width : (place + 1) * width]
        found = [v for g in groups.values() for v in g.values()]
        _vertical(row[0], axis, found, target)
        row[0].set_ylabel(axis.title, fontsize=LABEL_SIZE)
        for panel, lines in zip(row, groups.values(), strict=False):
            panel.set_xlabel("round", fontsize=LABEL_SIZE)
            panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            for label, (_, colour, y) in _draw(panel, lines, axis, "round").items():
                drawn = lines[label]
                if drawn.words and len(drawn.values):
                    style = {"color": colour, "fontsize": SMALL_SIZE}
                    panel.annotate(drawn.words, (drawn.values.index[-1], y), **style)
            panel.margins(x=0.01)
            if target is not None:
                panel.axhline(target, color=INK, linewidth=0.8, linestyle=":")
    every = [v for _, groups in rows for g in groups.values() for v in g.values()]
    styles = _styles() if any(v.beside is not None for v in every) else []
    if target is not None and styles:
        styles.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=":"))
        styles[-1].set_label(f"target {100 * target:g} %")
    _legend(figure, [label for g in rows[0][1].values() for label in g], styles)
    return figure


def densities(
    groups: Mapping[str, Mapping[str, np.ndarray]], title: str, x: str
) -> Figure:
    """How values in [0, 1] are spread, a panel a group; a legend is below them.

    A Gaussian kernel density with Scott's bandwidth; values that are all equal have
    none and become an upright line. Triangles mark means.
    """
    figure, axes = _in_rows([groups], title)
    for panel, found in zip(axes, groups.values(), strict=False):
        humps(panel, found, colours_of(found))
    everything = [v for found in groups.values() for v in found.values() if len(v)]
    lowest = min((np.quantile(v, 0.01) for v in everything), default=1.0)
    for panel in axes:
        unit_axis(panel, lowest, x)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("density of clients", fontsize=LABEL_SIZE)
    _legend(figure, [label for found in groups.values() for label in found], [])
    return figure


def humps(
    panel: Axes, found: Mapping[str, np.ndarray], colours: Mapping[str, str]
) -> dict[str, Line2D]:
    """Draw the densities; returns each label's line."""
    drawn = {}
    for label, values in found.items():
        if not len(values):
            continue
        colour, curve_ = colours[label], density(values)
        if curve_ is None:
            drawn[label] = panel.axvline(values.mean(), color=colour, linewidth=2)
        else:
            (drawn[label],) = panel.plot(GRID, curve_, color=colour, linewidth=2)
        panel.plot(
            values.mean(),
            0,
            marker="^",
            markersize=8,
            color=colour,
            clip_on=False,
            transform=panel.get_xaxis_transform(),
            linestyle="none",
        )
    return drawn


def unit_axis(panel: Axes, lowest: float, title: str) -> None:
    """A horizontal axis of shares, from some way below the lowest, in tenths, to 1."""
    panel.set_xlim(max(0.0, np.floor(10 * lowest - 0.5) / 10), 1)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_xlabel(title, fontsize=LABEL_SIZE)


def _in_rows(
    rows: Sequence[Mapping[str, Any]], title: str
) -> tuple[Figure, list[Axes]]:
    """Panels in rows of one scale each, under the titles of the first row."""
    columns = max(len(rows[0]), 1)
    size = (1.2 + 3.6 * max(columns, 2), 0.9 + 3.0 * len(rows))
    figure, axes = panels(columns * len(rows), title, size, rows=len(rows))
    for start in range(0, len(axes), columns):
        for panel in axes[start + 1 : start + columns]:
            panel.sharey(axes[start])
            panel.tick_params(labelleft=False)
    for panel, name in zip(axes, rows[0], strict=False):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
    if not rows[0]:
        say(axes[0], "nothing is recorded")
    return figure, axes


def _legend(figure: Figure, labels: Sequence[str], styles: Sequence[Line2D]) -> None:
    lines = [
        Line2D([], [], color=colour, linewidth=2, label=label)
        for label, colour in colours_of(dict.fromkeys(labels)).items()
    ]
    if not lines:
        return
    figure.legend(
        handles=[*lines, *styles],
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=SMALL_SIZE,
    )


def _styles() -> list[Line2D]:
    return [
        Line2D([], [], color=INK, linewidth=2, label="after adaptation"),
        Line2D([], [], color=INK, linewidth=1.1, linestyle=DASHES, label="before"),
    ]


def _vertical(
    panel: Axes, axis: Axis, lines: Sequence[Line], target: float | None = None
) -> None:
    """Scale and ticks; before labels are placed."""
    both = [c for v in lines for c in (v.values, v.beside) if c is not None]
    for one in lines:
        if one.sd is not None:
            both += [one.values - one.sd, one.values + one.sd]
    values = np.concatenate([[], *(c.dropna() for c in both)])
    if axis.log:
        panel.set_yscale("log")
        if len(positive := values[values > 0]):
            low, high = positive.min(), positive.max()
            room = max((high / low) ** 0.06, 1.0005)
            panel.set_ylim(low / room, high * room)
        panel.yaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        panel.yaxis.set_minor_locator(LogLocator(subs=[]))
        return
    decimals = 0 if axis.zero else None
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
    if axis.zero:
        panel.set_ylim(0, min(1.0, 1.08 * max([0.05, target or 0, *values])))
    elif len(values):
        margin = max(0.08 * np.ptp(values), 0.005)
        panel.set_ylim(values.min() - margin, values.max() + margin)


def _draw(
    panel: Axes, lines: Lines, axis: Axis, x: str
) -> dict[str, tuple[str, str, float]]:
    """Draw curves; returns the text at each one's end, its colour and height."""
    colours, ends, drawn = colours_of(lines), {}, []
    for label, one in lines.items():
        colour, values, words = one.colour or colours[label], one.values, one.words
        if values.empty:
            if words:
                ends[label] = f"{label} {words}", colour, np.nan
            continue
        panel.plot(
            values,
            color=colour,
            linewidth=2,
            linestyle=DASHES if one.dashed else "-",
            marker="o" if len(values) <= FEW else None,
            markersize=3.5,
        )
        drawn.append(values)
        if one.sd is not None:
            low, high = values - one.sd, values + one.sd
            style = {"color": colour, "alpha": BAND, "linewidth": 0}
            panel.fill_between(values.index, low, high, **style)
        finite = values.dropna()
        if not words and len(finite) < len(values):
            gaps = values.index[values.isna()]
            more = " and on" if len(gaps) > 1 else ""
            words = f"{NOT_FINITE} at {x} {gaps[0]:,.0f}{more}"
        text = words or axis.last.format(finite.iloc[-1])
        ends[label] = f"{label} {text}", colour, float(finite.iloc[-1])
    for label, one in lines.items():
        # FedAvg(Meta) before adapting is FedAvg: its dashes would cover that line
        if one.beside is not None and not any(
            np.array_equal(one.beside, other, equal_nan=True) for other in drawn
        ):
            colour = one.colour or colours[label]
            panel.plot(one.beside, color=colour, linewidth=1.1, linestyle=DASHES)
    return ends


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
