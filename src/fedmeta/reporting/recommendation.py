"""Tables and figures of recommenders over the tidy table (paper, Table 3, Fig. 6, 7).

Scores have a row a test user, support fraction and number of steps, with the hits
`top1` and `top4` among the user's query records. Cells have the factors `method`,
`label` and `kind`. Accuracies are in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from fedmeta.reporting import measures as m
from fedmeta.reporting.fairness import GRID, density
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import (
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    Keywords,
    colours_of,
    label_ends,
    panels,
    say,
    titled,
)
from fedmeta.reporting.verdicts import Claim, close, every, greater

Row = tuple[str, int]  # a method and its number of steps

TOPS = {"top1": "Top-1", "top4": "Top-4"}
TABLE_STEPS = (100, 1_000, 10_000)  # of a learning curve, the table shows these
NAIVE = "mru"  # what users are compared with, one by one
HUMP = GRID[::4]  # small humps, and twenty of them: no need of every point
TRAINED_ALONE = ("lr", "nn")  # the methods with a curve of their own


@m.measure
def hits(run: Results, top: str, **stage: Any) -> float:
    """Share of all test users' query records among whose suggestions is the answer."""
    rows = run.at(**stage)
    return 100 * rows[top].sum() / rows["num_query"].sum() if len(rows) else np.nan


def user_accuracies(scores: pd.DataFrame) -> pd.DataFrame:
    """Top-1 and Top-4 of every user with a query record, fractions by client id."""
    kept = scores[scores["num_query"] > 0].set_index("client_id")
    return kept[[*TOPS]].div(kept["num_query"], axis=0)


def accuracies(results: Results, found: Results, **stage: Any) -> dict[str, m.Value]:
    """Top-1 and Top-4 over records."""
    return {top: hits(found, top, **stage) for top in TOPS}


def of_users(results: Results, found: Results, **stage: Any) -> dict[str, m.Value]:
    """What single users get, every user counting the same.

    Returns:
        `users`, `mean_top1` and `mean_top4` over users, `p10_top1` (1 user in 10 is
        below) and `beats_mru`, the share of users for whom Top-1 is higher than that of
        repeating the last service.
    """
    naive = user_accuracies(results.where(method=NAIVE).at(**{**stage, "steps": 0}))
    naive = naive["top1"].groupby(level=0).first()  # the same under every seed

    def measured(compute: Callable[[pd.DataFrame], float]) -> m.Value:
        one = m.measure(lambda run: compute(user_accuracies(run.at(**stage))))
        return one(found)

    def mean(top: str) -> m.Value:
        return measured(lambda users: 100 * users[top].mean())

    return {
        "users": measured(len),
        **{f"mean_{top}": mean(top) for top in TOPS},
        "p10_top1": measured(lambda users: 100 * users["top1"].quantile(0.1)),
        "beats_mru": measured(
            lambda users: 100 * ((users["top1"] - naive).dropna() > 0).mean()
        ),
    }


def tabulate(
    results: Results,
    parameters: Mapping[str, int],
    measures: Callable[..., Mapping[str, m.Value]],
) -> pd.DataFrame:
    """A row a method and number of steps: `TABLE_STEPS` and a method's last.

    Args:
        results: Of all methods.
        parameters: Number of parameters of each method that has any.
        measures: `accuracies` or `of_users`.

    Returns:
        Columns `id`, `kind`, `method`, `source`, `steps` (0 where it has no meaning),
        `parameters`, then the means over seeds of the measures by support fraction:
        `top1_80`, `top4_80` and so on. If a training diverged, `training` says so.
    """
    rows = []
    for method, steps in rows_of(results):
        found = results.where(method=method)
        tested = len(found.scores) > 0
        row = {
            "id": method,
            "kind": found.value("kind"),
            "method": found.value("label"),
            "source": results.source,
            "steps": steps if tested else None,
            "parameters": parameters.get(method),
        }
        for p in support_fractions(results) if tested else ():
            values = measures(results, found, support_fraction=p, steps=steps)
            row |= {column(name, p): float(value) for name, value in values.items()}
        if found.lost:
            row["training"] = found.lost
        rows.append(row)
    return pd.DataFrame(rows).astype({"steps": "Int64", "parameters": "Int64"})


def rows_of(results: Results) -> dict[Row, str]:
    """The rows of the tables, and their names: with steps where a method has several.

    Of one that was not tested, the number of steps is 0.
    """
    rows = {}
    for method, found in results.by("method").items():
        steps, label = found.counts("steps") or [0], found.value("label")
        shown = [n for n in steps if n in TABLE_STEPS or n == steps[-1]]
        for n in shown:
            rows[method, n] = label if len(shown) == 1 else f"{label} at {n:,} steps"
    return rows


def for_every_seed(results: Results) -> Results:
    """The results, those of methods without a seed under each seed of the others."""
    seeds = results.cells[["seed"]].dropna().drop_duplicates()
    if seeds.empty:
        return results

    def spread(table: pd.DataFrame) -> pd.DataFrame:
        none = table["seed"].isna()
        under = table[none].drop(columns="seed").merge(seeds, how="cross")
        return pd.concat([under, table[~none]], ignore_index=True)

    return results._replace(cells=spread(results.cells), scores=spread(results.scores))


def support_fractions(results: Results) -> list[float]:
    """The support fractions of all methods, largest first."""
    return sorted(results.scores["support_fraction"].unique(), reverse=True)


def column(measure: str, fraction: float) -> str:
    """A column's name: top1_80 is Top-1 with 80 % support."""
    return f"{measure}_{100 * fraction:g}"


def value(results: Results, row: Row, top: str, fraction: float) -> m.Value:
    """The accuracy of a row."""
    found, steps = results.where(method=row[0]), row[1]
    return hits(found, top, support_fraction=fraction, steps=steps)


def above(
    results: Results,
    claim: str,
    winners: Sequence[Row],
    losers: Sequence[Row],
    fraction: float,
    tops: Iterable[str] = TOPS,
) -> Claim:
    """Whether every winner is above every loser, or all others, in every measure."""
    rows, held, figures = rows_of(results), [], []
    names = dict(zip(results.cells["method"], results.cells["label"], strict=True))

    def told(values: Mapping[Row, m.Value]) -> str:
        labels = {row: rows.get(row, names.get(row[0], row[0])) for row in values}
        return ", ".join(f"{labels[row]} {v}" for row, v in values.items())

    for top in tops:
        high, low = (
            {row: value(results, row, top, fraction) for row in wanted}
            for wanted in (
                winners,
                losers or [row for row in rows if row not in winners],
            )
        )
        held += [greater(a, b) for a in high.values() for b in low.values()]
        lost = {row: x for row, x in low.items() if x.diverged}
        best = sorted(low, key=lambda row: np.nan_to_num(float(low[row])))[-1:]  # noqa: B023
        figures.append(
            f"{TOPS[top]}: {told(high)} against "
            f"{told(lost or {row: low[row] for row in best})}"
        )
    return Claim(claim, "; ".join(figures), every(held))


def equal(
    results: Results,
    claim: str,
    figures: str,
    one: tuple[Row, float],
    other: tuple[Row, float],
    within: float,
    tops: Iterable[str] = TOPS,
) -> Claim:
    """Whether two rows, each at a support fraction, are at most so far apart."""
    pairs = {
        TOPS[top]: [value(results, row, top, p) for row, p in (one, other)]
        for top in tops
    }
    texts = [f"{top}: {figures.format(*pair)}" for top, pair in pairs.items()]
    held = every(close(here, there, within) for here, there in pairs.values())
    return Claim(claim, "; ".join(texts), held)


def step_curves(results: Results) -> Figure:
    """Test accuracy of LR and NN by training steps, with all others (paper, Fig. 7).

    LR and NN are curves. A federated or unified method is a dot at its number of steps
    and a dashed line; what takes no steps is a dotted line.
    """
    fractions = support_fractions(results)
    rows = max(len(fractions), 1)
    title = f"Test accuracy by steps on a user's own records · {results.source}"
    figure, axes = panels(2 * rows, title, (11.5, 0.6 + 3.5 * rows), rows=rows)
    if not fractions:
        for panel in axes:
            say(panel, "no test user")
    for panel, (p, top) in zip(axes, product(fractions, TOPS), strict=False):
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        panel.xaxis.set_minor_locator(LogLocator(subs=[]))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _by_steps(panel, results, p, top)
        words = f"{TOPS[top]}, {p:.0%} support"
        panel.set_title(words, fontsize=LABEL_SIZE, loc="left", color=INK)
    for panel in axes[-2:]:
        panel.set_xlabel("steps (log scale)", fontsize=LABEL_SIZE)
    return figure


def _by_steps(panel: Axes, results: Results, fraction: float, top: str) -> None:
    colours, ends = colours_of(results.values("label")), []
    for method, found in results.by("method").items():
        label = found.value("label")
        if found.diverged:
            words = f"{label} {found.diverged}"
            ends.append((words, colours[label], panel.get_ylim()[0]))
            continue
        curve = {
            n: float(hits(found, top, support_fraction=fraction, steps=n)) / 100
            for n in found.counts("steps")
        }
        curve = pd.Series(curve, dtype=float).dropna()
        if curve.empty:
            continue
        last = curve.iloc[-1]
        style: Keywords = {"color": colours[label], "marker": "o"}
        taken = curve[curve.index > 0]
        if method in TRAINED_ALONE:
            panel.plot(taken, linewidth=2, markersize=3.5, **style)
        else:
            dashes = "--" if len(taken) else ":"
            panel.axhline(last, color=colours[label], linewidth=1.1, linestyle=dashes)
            panel.plot(taken[-1:], markersize=5, **style)
        ends.append((f"{label} {last:.1%}", colours[label], float(last)))
    label_ends(panel, ends)


def user_spread(results: Results) -> Figure:
    """How users' Top-1 accuracies are spread: density, middle 80 %, median.

    Of a method's numbers of steps the last is shown.
    """
    fractions = support_fractions(results)
    last = {
        method: (steps, results.where(method=method))
        for method, steps in rows_of(results)
    }
    names = [
        found.value("label")
        + (f", {found.diverged}" if found.diverged else f", {n:,} steps" * bool(n))
        for n, found in last.values()
    ]
    title = f"Top-1 accuracy of each test user · {results.source}"
    size = (11.5, 1.2 + 0.45 * max(len(last), 2))
    figure, drawn = titled(
        {f"{p:.0%} support": p for p in fractions},
        title,
        size,
        "share of the user's query records right",
        "no test user",
        share_y=True,
    )
    colours = colours_of(results.values("label"))
    for panel, _, p in drawn:
        for place, (steps, found) in enumerate(last.values()):
            users = user_accuracies(found.at(support_fraction=p, steps=steps))
            colour = colours[found.value("label")]
            _ridge(panel, place, users["top1"].to_numpy(float), colour)
        panel.set_xlim(0, 1)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    first = figure.axes[0]
    first.set_yticks(range(len(last)), names)
    first.set_ylim(len(last) - 0.7, -1)  # the first method on top
    return figure


def _ridge(panel: Axes, place: int, users: np.ndarray, colour: str) -> None:
    """A hump that stands on the method's line, with the middle of the users below."""
    if not len(users):
        return
    curve = density(users, HUMP)
    if curve is not None and curve.any():  # else all between two points
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
