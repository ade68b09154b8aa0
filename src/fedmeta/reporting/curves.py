"""Curves with bands.

Named values are drawn under the labels that are given; no study is known here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from fedmeta.reporting import style as s
from fedmeta.reporting.measures import over_seeds
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import Keywords
from fedmeta.reporting.wording import NOT_FINITE

FEW = 25  # a curve of so few points shows each of them
MOST_WITH_ENDS = 2  # panels that have room for labels at the ends of curves
BAND = 0.18  # opacity
DASHES = (0, (4, 2))


class Line(NamedTuple):
    """A curve."""

    # by what is on the horizontal axis, with gaps where they are not finite
    values: pd.Series
    low: pd.Series | None = None  # lower end of the band around it; or None
    high: pd.Series | None = None  # its upper end
    # another curve of the same training, thin and dashed; or None
    beside: pd.Series | None = None
    words: str = ""  # at its end in place of its last value, such as of a divergence
    dashed: bool = False  # whether it is dashed itself
    colour: str = ""  # of its label, unless given


Lines = Mapping[str, Line]  # by label


class Axis(NamedTuple):
    """How a vertical axis is drawn and written."""

    title: str  # what it shows
    last: str  # the format of a curve's last value; empty: it is not written
    log: bool = False  # whether it is logarithmic
    zero: bool = True  # whether it begins at zero; else a little below the lowest value
    # how its values are written; None: as percent
    text: Callable[[float], str] | None = None


ACCURACY = Axis("query records classified correctly", "{:.1%}")
LOSS = Axis("nats a record (log scale)", "{:.2f}", log=True)


def by_round(
    groups: Mapping[str, Mapping[str, Results]],
    column: str,
    colours: Mapping[Any, str] | None = None,
    beside: str | None = None,
) -> dict[str, dict[str, Line]]:
    """Curves of a column of histories, the mean over seeds with its deviation.

    Args:
        groups: results by the panels' titles and the curves' labels.
        beside: a column whose curve is thin and dashed.
    """
    lines: dict[str, dict[str, Line]] = {}
    for title, group in groups.items():
        lines[title] = {}
        for label, found in group.items():
            curve = over_seeds(found, column)
            mean, sd = curve["mean"], curve["sd"]
            low, high = (mean - sd, mean + sd) if found.seeds > 1 else (None, None)
            other = over_seeds(found, beside)["mean"] if beside else None
            bad = mean.empty and found.histories["round"].nunique() > 1
            words = found.diverged or (NOT_FINITE if bad else "")
            colour = (colours or {}).get(label, "")
            lines[title][label] = Line(mean, low, high, other, words, colour=colour)
    return lines


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
        groups: by the panels' titles.
        axis: the vertical one, or one a group; panels of equal ones share their scale.
        target: to mark with a line.
    """
    count = max(len(groups), 1)
    size = (9, 4.6) if count == 1 else (11.5, 0.9 + 3.5 * rows)
    figure, drawn = s.panels(groups, title, size, x, nothing, rows=rows)
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
            panel.set_ylabel(own.title, fontsize=s.LABEL_SIZE)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ends = _draw(panel, lines, own, x)
        if not ends:
            s.say(panel, nothing)
        panel.margins(x=0.01)
        if room and ends:
            bottom = panel.get_ylim()[0]
            placed = [(t, c, bottom if np.isnan(y) else y) for t, c, y in ends.values()]
            s.label_ends(panel, placed)
        for label, (_, colour, y) in ends.items() if not room else ():
            one = lines[label]
            if one.words and len(one.values):
                s.write_beside(panel, one.words, one.values.index[-1], y, color=colour)
        if target is not None and ends:
            panel.axhline(target, color=s.INK, linewidth=0.8, linestyle=":")
            told = "" if own in seen else f"target {target:.0%}"
            s.write_beside(panel, told, panel.get_xlim()[0], target, va="bottom")
        seen.add(own)
    _legend(figure, list(groups.values()), labelled=not room)
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
        for label, colour in s.colours_of(labels).items()
    ]
    if any(v.beside is not None for lines in groups for v in lines.values()):
        thin: Any = {"linewidth": 1.1, "linestyle": DASHES}
        handles += [
            Line2D([], [], color=s.INK, label="after adaptation", linewidth=2),
            Line2D([], [], color=s.INK, label="before", **thin),
        ]
    if handles:
        place: Keywords = {"loc": "outside lower left", "frameon": False}
        figure.legend(handles=handles, ncols=4, fontsize=s.SMALL_SIZE, **place)


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
    if (text := axis.text) is not None:
        panel.yaxis.set_major_formatter(FuncFormatter(lambda v, _: text(v)))
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
    colours, ends, drawn = s.colours_of(lines), {}, []
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
        low, high = one.low, one.high
        if low is not None and high is not None:
            style: Keywords = {"color": colour, "alpha": BAND, "linewidth": 0}
            panel.fill_between(values.index, low, high, **style)
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
