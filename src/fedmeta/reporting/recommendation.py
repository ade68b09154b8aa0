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
from fedmeta.reporting import style as s
from fedmeta.reporting.fairness import GRID, density
from fedmeta.reporting.phrases import Found
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import Keywords
from fedmeta.reporting.verdicts import close, every, greater

Row = tuple[str, int]  # a method and its number of steps

TOPS = {"top1": "Top-1", "top4": "Top-4"}
TABLE_STEPS = (100, 1_000, 10_000)  # of a learning curve, the table shows these
NAIVE = "mru"  # what users are compared with, one by one
HUMP = GRID[::4]  # small humps, and twenty of them: no need of every point
TRAINED_ALONE = ("lr", "nn")  # the methods with a curve of their own


def user_accuracies(scores: pd.DataFrame) -> pd.DataFrame:
    """Top-1 and Top-4 of every user with a query record, fractions by client id."""
    kept = scores[scores["num_query"] > 0].set_index("client_id")
    return kept[[*TOPS]].div(kept["num_query"], axis=0)


def accuracies(results: Results, found: Results, **stage: Any) -> dict[str, m.Value]:
    """Top-1 and Top-4 over records."""
    return {top: m.share(found, top, **stage) for top in TOPS}


def of_users(results: Results, found: Results, **stage: Any) -> dict[str, m.Value]:
    """What single users get, every user counting the same.

    Returns:
        `users`, `mean_top1` and `mean_top4` over users, `p10_top1` (1 user in 10 is
        below) and `beats_mru`, the share of users for whom Top-1 is higher than that of
        repeating the last service.
    """
    naive = user_accuracies(results.where(method=NAIVE).at(**{**stage, "steps": 0}))
    naive = naive["top1"].groupby(level=0).first()  # the same under every seed

    @m.measure
    def over_users(run: Results, number: Callable[[pd.DataFrame], float]) -> float:
        return number(user_accuracies(run.at(**stage)))

    def share_above_naive(users: pd.DataFrame) -> float:
        return 100 * (users["top1"] - naive).dropna().gt(0).mean()

    return {
        "users": over_users(found, len),
        "mean_top1": over_users(found, lambda users: 100 * users["top1"].mean()),
        "mean_top4": over_users(found, lambda users: 100 * users["top4"].mean()),
        "p10_top1": over_users(found, lambda users: 100 * users["top1"].quantile(0.1)),
        "beats_mru": over_users(found, share_above_naive),
    }


def tabulate(
    results: Results,
    parameters: Mapping[str, int],
    measures: Callable[..., Mapping[str, m.Value]],
) -> pd.DataFrame:
    """A row a method and number of steps: `TABLE_STEPS` and a method's last.

    Args:
        parameters: number of parameters of each method that has any.
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
    return m.share(found, top, support_fraction=fraction, steps=steps)


def above(
    results: Results,
    winners: Sequence[Row],
    losers: Sequence[Row],
    fraction: float,
    tops: Iterable[str] = TOPS,
) -> Found:
    """Whether every winner is above every loser, or all others, in every measure."""
    rows, held, figures = rows_of(results), [], []
    labels = dict(zip(results.cells["method"], results.cells["label"], strict=True))
    against = losers or [row for row in rows if row not in winners]

    def told(values: Mapping[Row, m.Value]) -> str:
        names = (rows.get(row, labels.get(row[0], row[0])) for row in values)
        pairs = zip(names, values.values(), strict=True)
        return ", ".join(f"{name} {v}" for name, v in pairs)

    for top in tops:
        high, low = (
            {row: value(results, row, top, fraction) for row in wanted}
            for wanted in (winners, against)
        )
        held += [greater(a, b) for a in high.values() for b in low.values()]
        lost = {row: x for row, x in low.items() if x.diverged}
        best = sorted(low.items(), key=lambda pair: np.nan_to_num(float(pair[1])))
        beaten = told(lost or dict(best[-1:]))
        figures.append(f"{TOPS[top]}: {told(high)} against {beaten}")
    return "; ".join(figures), every(held)


def equal(
    results: Results,
    figures: str,
    one: tuple[Row, float],
    other: tuple[Row, float],
    within: float,
    tops: Iterable[str] = TOPS,
) -> Found:
    """Whether two rows, each at a support fraction, are at most so far apart."""
    texts, held = [], []
    for top in tops:
        here, there = (value(results, row, top, p) for row, p in (one, other))
        texts.append(f"{TOPS[top]}: {figures.format(here, there)}")
        held.append(close(here, there, within))
    return "; ".join(texts), every(held)


def step_curves(results: Results) -> Figure:
    """Test accuracy of LR and NN by training steps, with all others (paper, Fig. 7).

    LR and NN are curves. A federated or unified method is a dot at its number of steps
    and a dashed line; what takes no steps is a dotted line.
    """
    pairs = list(product(support_fractions(results), TOPS))
    rows = max(len(pairs) // len(TOPS), 1)
    figure, drawn = s.panels(
        {f"{TOPS[top]}, {p:.0%} support": (p, top) for p, top in pairs},
        f"Test accuracy by steps on a user's own records · {results.source}",
        (11.5, 0.6 + 3.5 * rows),
        nothing="no test user",
        rows=rows,
    )
    for panel, _, (p, top) in drawn:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        panel.xaxis.set_minor_locator(LogLocator(subs=[]))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _by_steps(panel, results, p, top)
    for panel in figure.axes[-len(TOPS) :]:
        panel.set_xlabel("steps (log scale)", fontsize=s.LABEL_SIZE)
    return figure


def _by_steps(panel: Axes, results: Results, fraction: float, top: str) -> None:
    colours, ends = s.colours_of(results.values("label")), []
    for method, found in results.by("method").items():
        label = found.value("label")
        if found.diverged:
            words = f"{label} {found.diverged}"
            ends.append((words, colours[label], panel.get_ylim()[0]))
            continue
        curve = {
            n: float(m.share(found, top, support_fraction=fraction, steps=n)) / 100
            for n in found.counts("steps")
        }
        curve = pd.Series(curve, dtype=float).dropna()
        if curve.empty:
            continue
        style: Keywords = {"color": colours[label], "marker": "o"}
        taken = curve[curve.index > 0]
        if method in TRAINED_ALONE:
            panel.plot(taken, linewidth=2, markersize=3.5, **style)
        else:
            line: Keywords = {"color": colours[label], "linewidth": 1.1}
            dashes = "--" if len(taken) else ":"
            panel.axhline(curve.iloc[-1], linestyle=dashes, **line)
            panel.plot(taken[-1:], markersize=5, **style)
        last = float(curve.iloc[-1])
        ends.append((f"{label} {last:.1%}", colours[label], last))
    s.label_ends(panel, ends)


def user_spread(results: Results) -> Figure:
    """How users' Top-1 accuracies are spread: density, middle 80 %, median.

    Of a method's numbers of steps the last is shown.
    """
    last = dict(tuple(rows_of(results)))  # method -> steps
    names = [
        found.value("label")
        + (f", {found.diverged}" if found.diverged else f", {n:,} steps" * bool(n))
        for method, n in last.items()
        for found in [results.where(method=method)]
    ]
    figure, drawn = s.panels(
        {f"{p:.0%} support": p for p in support_fractions(results)},
        f"Top-1 accuracy of each test user · {results.source}",
        (11.5, 1.2 + 0.45 * max(len(last), 2)),
        "share of the user's query records right",
        "no test user",
        share_y=True,
    )
    colours = list(s.colours_of(results.values("label")).values())
    for panel, _, p in drawn:
        for place, (method, steps) in enumerate(last.items()):
            scores = results.where(method=method).at(support_fraction=p, steps=steps)
            users = user_accuracies(scores)["top1"].to_numpy(float)
            _ridge(panel, place, users, colours[place])
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
    above: Keywords = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center"}
    words: Keywords = {"fontsize": s.SMALL_SIZE, "color": s.INK}
    panel.annotate(f"{middle:.0%}", (middle, place), **above, **words)
