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
    titled,
    write_beside,
)
from fedmeta.reporting.wording import NOT_FINITE

FEW = 25  # a curve of so few points shows each of them
MOST_WITH_ENDS = 2  # panels that have room for labels at the ends of curves
BAND = 0.18  # opacity
DASHES = (0, (4, 2))
SCALE = "cividis"  # even steps of lightness, the same to any colour vision


class Line(NamedTuple):
    """A curve.

    Attributes:
        values: By what is on the horizontal axis, with gaps where they are not finite.
        low: Lower end of the band around it; or None.
        high: Its upper end.
        beside: Another curve of the same training, thin and dashed; or None.
        words: At its end in place of its last value, such as of a divergence.
        dashed: Whether it is dashed itself.
        colour: Of its label, unless given.
    """

    values: pd.Series
    low: pd.Series | None = None
    high: pd.Series | None = None
    beside: pd.Series | None = None
    words: str = ""
    dashed: bool = False
    colour: str = ""


Lines = Mapping[str, Line]  # by label


class Axis(NamedTuple):
    """How a vertical axis is drawn and written.

    Attributes:
        title: What it shows.
        last: The format of a curve's last value; empty: it is not written.
        log: Whether it is logarithmic.
        zero: Whether it begins at zero; else a little below the lowest value.
        text: How its values are written; None: as percent.
    """

    title: str
    last: str
    log: bool = False
    zero: bool = True
    text: Callable[[float], str] | None = None


ACCURACY = Axis("query records classified correctly", "{:.1%}")
LOSS = Axis("nats a record (log scale)", "{:.2f}", log=True)


def by_round(
    groups: Mapping[str, Mapping[str, Results]],
    column: str,
    colours: Mapping[str, str] | None = None,
    beside: str | None = None,
) -> dict[str, dict[str, Line]]:
    """Curves of a column of histories, the mean over seeds with its deviation.

    Args:
        groups: Results by the panels' titles and the curves' labels.
        column: Of the histories.
        colours: By label.
        beside: A column whose curve is thin and dashed.
    """
    return {
        title: {
            label: _line(found, column, beside, (colours or {}).get(label, ""))
            for label, found in group.items()
        }
        for title, group in groups.items()
    }


def _line(found: Results, column: str, beside: str | None, colour: str) -> Line:
    curve = over_seeds(found, column)
    mean, sd = curve["mean"], curve["sd"]
    band = (mean - sd, mean + sd) if found.seeds > 1 else (None, None)
    other = over_seeds(found, beside)["mean"] if beside else None
    bad = mean.empty and found.histories["round"].nunique() > 1
    words = found.diverged or (NOT_FINITE if bad else "")
    return Line(mean, *band, other, words, colour=colour)


def curves(
    groups: Mapping[str, Lines],
    title: str,
    axis: Axis | Mapping[str, Axis] = ACCURACY,
    x: str = "round",
    nothing: str = "no round has been evaluated",
    *,
    rows: int = 1,
    target: float | None = None,
) -> Figure:
    """Curves with bands, a panel a group.

    A line has gaps where a value is not finite. Its label and last value stand at its
    end, or, where there is no room for that, its label in a legend below. Where a
    training diverged, that is said in place of a value.

    Args:
        groups: By the panels' titles.
        title: Of the figure.
        axis: The vertical one, or one a group; panels of equal ones share their scale.
        x: What is on the horizontal axis.
        nothing: Said in a panel without curves.
        rows: Of panels.
        target: To mark with a line.
    """
    count = max(len(groups), 1)
    size = (9, 4.6) if count == 1 else (11.5, 0.9 + 3.5 * rows)
    figure, drawn = titled(groups, title, size, x, nothing, rows=rows)
    vertical = {n: axis if isinstance(axis, Axis) else axis[n] for n in groups}
    room = count <= MOST_WITH_ENDS
    seen: set[Axis] = set()
    for panel, name, lines in drawn:
        own = vertical[name]
        same = [v for n, g in groups.items() if vertical[n] == own for v in g.values()]
        _vertical(panel, own, same, target)
        if own in seen:
            panel.tick_params(labelleft=False)
        else:
            panel.set_ylabel(own.title, fontsize=LABEL_SIZE)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ends = _draw(panel, lines, own, x)
        if not ends:
            say(panel, nothing)
        panel.margins(x=0.01)
        if room and ends:
            bottom = panel.get_ylim()[0]
            placed = [(t, c, bottom if np.isnan(y) else y) for t, c, y in ends.values()]
            label_ends(panel, placed)
        for label, (_, colour, y) in ends.items() if not room else ():
            one = lines[label]
            if one.words and len(one.values):
                write_beside(panel, one.words, one.values.index[-1], y, color=colour)
        if target is not None and ends:
            panel.axhline(target, color=INK, linewidth=0.8, linestyle=":")
            told = "" if own in seen else f"target {target:.0%}"
            write_beside(panel, told, panel.get_xlim()[0], target, va="bottom")
        seen.add(own)
    _legend(figure, list(groups.values()), labelled=not room)
    return figure


def densities(
    groups: Mapping[str, Mapping[str, tuple[np.ndarray, str]]],
    title: str,
    x: str,
    nothing: str = "nothing was measured",
) -> Figure:
    """How values in [0, 1] are spread, a panel a group with a legend of its own.

    A Gaussian kernel density with Scott's bandwidth; values that are all equal have
    none and become an upright line. Triangles mark means.

    Args:
        groups: Values, and words that stand beside their label, such as of a
            divergence, by the panels' titles and the labels.
        title: Of the figure.
        x: What the values are.
        nothing: Said in a panel without values.
    """
    count = max(len(groups), 1)
    size = (9, 4.6) if count == 1 else (11.5, 4.9)
    figure, drawn = titled(groups, title, size, x, nothing, share_y=True)
    everything = [v for found in groups.values() for v, _ in found.values() if len(v)]
    lowest = min((np.quantile(v, 0.01) for v in everything), default=1.0)
    for panel, _, found in drawn:
        colours = colours_of(found)
        for label, (values, words) in found.items():
            style = {"color": colours[label], "linewidth": 2}
            if not len(values):
                if words:
                    panel.plot([], label=f"{label} {words}", **style)
                continue
            style["label"] = f"{label} {words}".strip() + f", mean {values.mean():.1%}"
            if (curve := density(values)) is None:
                panel.axvline(values.mean(), **style)
            else:
                panel.plot(GRID, curve, **style)
            panel.plot(
                values.mean(),
                0,
                "^",
                markersize=8,
                color=colours[label],
                clip_on=False,
                transform=panel.get_xaxis_transform(),
            )
        if panel.lines:
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18)}
            columns = 3 if count == 1 else 1
            panel.legend(frameon=False, fontsize=SMALL_SIZE, ncols=columns, **below)
        else:
            say(panel, nothing)
        if all(density(values) is None for values in everything):  # uprights alone
            panel.set_yticks([])
        panel.set_xlim(max(0.0, np.floor(10 * lowest - 0.5) / 10), 1)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_ylim(bottom=0)
    figure.supylabel("density of clients", fontsize=LABEL_SIZE)
    return figure


def _legend(figure: Figure, groups: Sequence[Lines], *, labelled: bool) -> None:
    """What the styles of lines mean, and with ``labelled`` also their colours."""
    labels: dict[str, str] = {}
    for lines in groups if labelled else ():
        for label, one in lines.items():
            lost = f"{label} {one.words}".strip() if one.values.empty else label
            labels[label] = max(labels.get(label, ""), lost, key=len)
    handles = [
        Line2D([], [], color=colour, linewidth=2, label=labels[label])
        for label, colour in colours_of(labels).items()
    ]
    if any(v.beside is not None for lines in groups for v in lines.values()):
        after, before = {"linewidth": 2}, {"linewidth": 1.1, "linestyle": DASHES}
        handles += [
            Line2D([], [], color=INK, label="after adaptation", **after),
            Line2D([], [], color=INK, label="before", **before),
        ]
    if handles:
        place = {"loc": "outside lower left", "ncols": 4, "frameon": False}
        figure.legend(handles=handles, fontsize=SMALL_SIZE, **place)


def _vertical(
    panel: Axes, axis: Axis, lines: Sequence[Line], target: float | None = None
) -> None:
    """Scale and ticks; before labels are placed."""
    drawn = [c for v in lines for c in v[:4] if c is not None]
    values = np.concatenate([[], *(c.dropna() for c in drawn)])
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
    if axis.text is not None:
        panel.yaxis.set_major_formatter(FuncFormatter(lambda v, _: axis.text(v)))
        panel.set_ylim(0, 1.08 * max([*values, 1e-9]))
    elif axis.zero:
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
        if one.low is not None:
            style = {"color": colour, "alpha": BAND, "linewidth": 0}
            panel.fill_between(values.index, one.low, one.high, **style)
        finite = values.dropna()
        if not words and len(finite) < len(values):
            gaps = values.index[values.isna()]
            more = " and on" if len(gaps) > 1 else ""
            words = f"{NOT_FINITE} at {x} {gaps[0]:,.0f}{more}"
        text = words or axis.last.format(finite.iloc[-1])
        ends[label] = f"{label} {text}".strip(), colour, float(finite.iloc[-1])
    for label, one in lines.items():
        # FedAvg(Meta) before adapting is FedAvg: its dashes would cover that line
        if one.beside is not None and not any(
            np.array_equal(one.beside, other, equal_nan=True) for other in drawn
        ):
            colour = one.colour or colours[label]
            panel.plot(one.beside, color=colour, linewidth=1.1, linestyle=DASHES)
    return ends


class Bar(NamedTuple):
    """A bar; without a value there are only its words."""

    value: float
    words: str


def bars(groups: Mapping[str, Mapping[str, Bar]], title: str) -> Figure:
    """Horizontal bars with words at their ends, a panel a group, each to its scale.

    Args:
        groups: Bars by the panels' titles and their labels, the same in all.
        title: Of the figure.
    """
    labels = list(next(iter(groups.values())))
    size = (11.5, 1.5 + 0.42 * max(len(labels), 1))
    figure, drawn = titled(groups, title, size, share_y=True)
    colours = colours_of(labels)
    for panel, _, found in drawn:
        for place, (label, (value, words)) in enumerate(found.items()):
            measured = np.isfinite(value)
            if measured:
                panel.barh(place, value, height=0.62, color=colours[label])
            style = {} if measured else {"color": "#777777", "style": "italic"}
            write_beside(panel, words, value if measured else 0, place, **style)
        longest = max((bar.value for bar in found.values() if bar.value > 0), default=1)
        room = (
            1.35 if max((len(b.words) for b in found.values()), default=0) < 20 else 1.9
        )
        panel.set_xlim(0, longest * room)
        panel.set_xticks([])
        panel.grid(visible=False)
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.4, -0.6)  # the first on top
    return figure


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
        line: Where nothing changes: "diagonal" or "zero"; "unit" is the diagonal of a
            square of all shares, shaded below.
    """

    title: str
    points: dict[str, Points]
    line: str


def scatter(
    drawn: Sequence[Scatter],
    title: str,
    x: str,
    nothing: str = "nothing was measured",
    y: str = "",
) -> Figure:
    """One accuracy against another, in percent.

    The labels of several points stand beside the last panel; a label that is its
    panel's title has its colour.
    """
    unit = all(panel.line == "unit" for panel in drawn)
    size = (2.6 * max(len(drawn), 2) + 0.5, 3.5) if unit else (11.5, 4.6)
    figure, axes = panels(len(drawn), title, size)
    for panel, (name, points, line) in zip(axes, drawn, strict=True):
        alone = next(iter(points.values())).colour if len(points) == 1 else INK
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=alone)
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
            alpha = 1 if path else 0.55
            panel.plot(xs[shown], ys[shown], "o", color=colour, alpha=alpha)
        if line == "unit":
            panel.fill_between([0, 1], [0, 1], color=WORSE, alpha=0.08, linewidth=0)
            limits = (-0.02, 1.02)  # a dot at 100 % is seen whole
            panel.set(xlim=limits, ylim=limits, aspect="equal", xticks=[0, 0.5, 1])
        if not panel.lines:
            say(panel, nothing)
        elif line == "zero":
            panel.axhline(0, color="#888888", linewidth=0.8)
        else:
            panel.axline((0, 0), slope=1, color="#888888", linewidth=0.8)
    axes[0].set_ylabel(y, fontsize=LABEL_SIZE)
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
            write_beside(panel, f"{row.end}", np.nanmax([start, end, 0]), place)
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
    square = any(drawn.square for drawn in maps.values())
    height = 0.9 + sum(1.0 + 0.42 * max(len(m.values), 2) for m in maps.values())
    size = (11.5, 5 if square else max(height, 2.5))
    rows = 1 if square else max(len(maps), 1)
    figure, found = titled(maps, title, size, x, nothing, rows=rows)
    for panel, _, drawn in found:
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
