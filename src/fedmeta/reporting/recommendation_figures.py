"""The recommendation study's figures (paper, Fig. 6 and 7)."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.fairness import GRID, density
from fedmeta.reporting.figure_kinds import Axis, by_round, curves
from fedmeta.reporting.recommendation_tables import (
    TOPS,
    Method,
    Scores,
    at,
    steps_of,
    support_fractions,
    user_accuracies,
)
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import (
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    colours_of,
    label_ends,
    panels,
    say,
)

TITLES = {"top1": "Top-1", "top4": "Top-4"}
VALIDATION = {"top1": "validation_accuracy_after", "top4": "validation_top4_after"}
HUMP = GRID[::4]  # small humps, and twenty of them: no need of every point
TRAINED_ALONE = ("lr", "nn")  # the methods with a curve of their own


def episode_curves(found: Mapping[str, Results], source: str) -> Figure:
    """Validation accuracy of the federated methods by episode (paper, Fig. 6).

    The paper's users learn from 80 % of their records, these from as much as the run's
    ``partition.support_fraction`` says.

    Args:
        found: By label, one method's, with a row an evaluated episode.
        source: What the data are, for the title.
    """
    groups = {
        title: by_round({title: found}, VALIDATION[top])[title]
        for top, title in TITLES.items()
    }
    title = f"Validation accuracy by episode · {source}"
    nothing = "no episode has been evaluated"
    return curves(groups, title, Axis("", "{:.1%}"), "episode", nothing)


def step_curves(methods: Sequence[Method], scores: Scores, source: str) -> Figure:
    """Test accuracy of LR and NN by training steps, with all others (paper, Fig. 7).

    LR and NN are curves. A federated or unified method is a dot at its number of steps
    and a dashed line; what takes no steps is a dotted line.
    """
    fractions = support_fractions(scores)
    rows = max(len(fractions), 1)
    title = f"Test accuracy by steps on a user's own records · {source}"
    figure, axes = panels(2 * rows, title, (11.5, 0.6 + 3.5 * rows), rows=rows)
    if not fractions:
        for panel in axes:
            say(panel, "no test user")
    for panel, (fraction, top) in zip(axes, product(fractions, TOPS), strict=False):
        _by_steps(panel, methods, scores, fraction, top)
        panel.set_title(
            f"{TITLES[top]}, {fraction:.0%} support",
            fontsize=LABEL_SIZE,
            loc="left",
            color=INK,
        )
    for panel in axes[-2:]:
        panel.set_xlabel("steps (log scale)", fontsize=LABEL_SIZE)
    return figure


def user_spread(methods: Sequence[Method], scores: Scores, source: str) -> Figure:
    """How users' Top-1 accuracies are spread: density, middle 80 %, median.

    Of a method's numbers of steps the last is shown.
    """
    fractions = support_fractions(scores)
    shown = [
        m
        for m in methods
        if m.label in scores and (len(scores[m.label]) or divergence(scores[m.label]))
    ]
    title = f"Top-1 accuracy of each test user · {source}"
    size = (11.5, 1.2 + 0.45 * max(len(shown), 2))
    figure, axes = panels(max(len(fractions), 1), title, size, share_y=True)
    colours = colours_of(method.label for method in shown)
    if not fractions:
        say(axes[0], "no test user")
    for panel, fraction in zip(axes, fractions, strict=False):
        for place, method in enumerate(shown):
            steps = max(steps_of(scores[method.label]), default=0)
            users = user_accuracies(at(scores[method.label], fraction, steps))
            _ridge(panel, place, users["top1"].to_numpy(float), colours[method.label])
        title = f"{fraction:.0%} support"
        panel.set_title(title, fontsize=LABEL_SIZE, loc="left", color=INK)
        panel.set_xlim(0, 1)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_xlabel("share of the user's query records right", fontsize=LABEL_SIZE)
    names = [_with_steps(method.label, scores) for method in shown]
    axes[0].set_yticks(range(len(shown)), names)
    axes[0].set_ylim(len(shown) - 0.7, -1)  # the first method on top
    return figure


def _by_steps(
    panel: Axes, methods: Sequence[Method], scores: Scores, fraction: float, top: str
) -> None:
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(_count))
    panel.xaxis.set_minor_locator(LogLocator(subs=[]))
    _percent_axis(panel)
    colours, ends = colours_of(method.label for method in methods), []
    for method in methods:
        curve = _accuracy_by_steps(scores.get(method.label), fraction, top)
        colour, words = colours[method.label], divergence(scores.get(method.label))
        if words:
            ends.append((f"{method.label} {words}", colour, panel.get_ylim()[0]))
        if curve.empty:
            continue
        last = curve.iloc[-1]
        taken = curve[curve.index > 0]
        if method.id in TRAINED_ALONE:
            panel.plot(taken, color=colour, linewidth=2, marker="o", markersize=3.5)
        else:
            style = "--" if len(taken) else ":"
            panel.axhline(last, color=colour, linewidth=1.1, linestyle=style)
            panel.plot(taken[-1:], color=colour, marker="o", markersize=5)
        ends.append((f"{method.label} {last:.1%}", colour, float(last)))
    label_ends(panel, ends)


def _accuracy_by_steps(
    scores: pd.DataFrame | None, fraction: float, top: str
) -> pd.Series:
    """Hits over query records, fractions by number of steps."""
    if scores is None:
        return pd.Series(dtype=float)
    sums = (
        scores[scores["support_fraction"] == fraction]
        .groupby("steps")
        .sum(numeric_only=True)
    )
    return (sums[top] / sums["num_query"]).dropna()


def _ridge(panel: Axes, place: int, users: np.ndarray, colour: str) -> None:
    """A hump that stands on the method's line, with the middle of the users below."""
    if not len(users):
        return
    curve = density(users, HUMP)
    if curve is not None:
        hump = place - 0.75 * curve / curve.max()  # the axis points down
        panel.fill_between(HUMP, place, hump, color=colour, alpha=0.35, linewidth=0)
        panel.plot(HUMP, hump, color=colour, linewidth=1)
    low, middle, high = np.quantile(users, [0.1, 0.5, 0.9])
    panel.plot([low, high], [place, place], color=colour, linewidth=3)
    panel.plot(middle, place, "o", color=colour, markeredgecolor="white", markersize=7)
    panel.annotate(
        f"{middle:.0%}",
        (middle, place),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=SMALL_SIZE,
        color=INK,
    )


def _with_steps(label: str, scores: Scores) -> str:
    if words := divergence(scores[label]):
        return f"{label}, {words}"
    steps = steps_of(scores[label])[-1]
    return f"{label}, {steps:,} steps" if steps else label


def _count(value: float, _: int) -> str:
    return f"{value:,.0f}"


def _percent_axis(panel: Axes) -> None:
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
