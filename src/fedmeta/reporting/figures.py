"""Figures that compare algorithms, a panel a support fraction, over all seeds."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedmeta.reporting import curves as c
from fedmeta.reporting import style as s
from fedmeta.reporting.fairness import GRID, client_accuracies, density
from fedmeta.reporting.figure_kinds import Points, Scatter, scatter
from fedmeta.reporting.measures import AFTER, BEFORE
from fedmeta.reporting.phrases import counted
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import Keywords
from fedmeta.reporting.tables import REACHED, by_label
from fedmeta.reporting.wording import bytes_text, flops_text, percent

# Costs until a target is reached: column, title, how a value is written.
COSTS: list[tuple[str, str, Callable[[float], str]]] = [
    ("rounds", "rounds", lambda value: f"{value:,.0f}"),
    ("bytes_total", "traffic, received and sent", bytes_text),
    ("flops", "compute by formula", flops_text),
]
Groups = dict[str, dict[str, Results]]


def accuracy_curves(results: Results, target: float | None = None) -> Figure:
    """Validation accuracy by round, after and before adaptation (paper, Fig. 2).

    Args:
        results: of any seeds and support fractions.
        target: an accuracy (fraction) to mark with a line.
    """
    title = f"Validation accuracy by round · {results.source}"
    groups = c.by_round(_by_support(results), AFTER, beside=BEFORE)
    return c.curves(groups, title, target=target)


def loss_curves(results: Results) -> Figure:
    """Loss by round: above on validation clients, below on those being trained."""
    watched = _by_support(results)
    trained = {
        title: {label: found for label, found in group.items() if _works(found)}
        for title, group in watched.items()
    }
    after, before = (f"validation_loss_{when}" for when in ("after", "before"))
    groups: dict[str, c.Lines] = {}
    axes: dict[str, c.Axis] = {}
    for who, found in (
        ("validation", c.by_round(watched, after, beside=before)),
        ("training clients", c.by_round(trained, "train_loss")),
    ):
        named = {f"{who}, {title}": lines for title, lines in found.items()}
        groups |= named
        axes |= dict.fromkeys(named, c.LOSS._replace(title=f"{who}\n{c.LOSS.title}"))
    title = f"Loss by round · {results.source}"
    return c.curves(groups, title, axes or c.LOSS, rows=2 if len(groups) > 2 else 1)


def _works(results: Results) -> bool:
    """Whether clients compute in rounds: there are algorithms that only adapt."""
    worked = results.histories.groupby("seed", dropna=False)["client_rounds"]
    return results.diverged != "" or bool((worked.max() > worked.min()).any())


def client_density(results: Results) -> Figure:
    """How test clients' accuracies after adaptation are spread (paper, Fig. 4 and 5).

    The clients of all seeds together: each is counted once a seed. Where a seed's
    training diverged, those of the others alone would say too much.

    A Gaussian kernel density with Scott's bandwidth, a panel a support fraction with a
    legend of its own; accuracies that are all equal have none and become an upright
    line. Triangles mark means.
    """
    groups = _by_support(results)
    alone, nothing = len(groups) < 2, "no test client"
    figure, drawn = s.panels(
        groups,
        f"Accuracy of each test client after adaptation · {results.source}",
        (9, 4.6) if alone else (11.5, 4.9),
        "share of the client's query records right",
        nothing,
        share_y=True,
    )
    everything = [
        client_accuracies(own)["after"].to_numpy()
        for found in groups.values()
        for own in found.values()
        if not own.diverged
    ]
    lowest = min((np.quantile(v, 0.01) for v in everything if len(v)), default=1.0)
    uprights_alone = all(density(values) is None for values in everything)
    for panel, _, found in drawn:
        colours = s.colours_of(found)
        for label, own in found.items():
            style: Keywords = {"color": colours[label], "linewidth": 2}
            if own.diverged:
                panel.plot([], label=f"{label} {own.diverged}", **style)
                continue
            values = client_accuracies(own)["after"].to_numpy()
            if not len(values):
                continue
            mean = values.mean()
            style["label"] = f"{label}, mean {mean:.1%}"
            if (curve := density(values)) is None:
                panel.axvline(mean, **style)
            else:
                panel.plot(GRID, curve, **style)
            foot: Keywords = {"clip_on": False, "color": colours[label]}
            foot["transform"] = panel.get_xaxis_transform()
            panel.plot(mean, 0, "^", markersize=8, **foot)
        if panel.lines:
            below: Keywords = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18)}
            columns = 3 if alone else 1
            panel.legend(frameon=False, fontsize=s.SMALL_SIZE, ncols=columns, **below)
        else:
            s.say(panel, nothing)
        if uprights_alone:
            panel.set_yticks([])
        panel.set_xlim(max(0.0, np.floor(10 * lowest - 0.5) / 10), 1)
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_ylim(bottom=0)
    figure.supylabel("density of clients", fontsize=s.LABEL_SIZE)
    return figure


def adaptation_effect(results: Results) -> Figure:
    """Every test client's accuracy before against after: below the line is worse.

    Algorithms whose adaptation changes no client at all are left out; of one that
    diverged it is said.
    """
    found = by_label(results)
    colours, panels = s.colours_of(found), {}
    for label, own in found.items():
        both = client_accuracies(own)
        before, after = both["before"], both["after"]
        if (before != after).any() or own.diverged:
            better, worse = (after > before).mean(), (after < before).mean()
            words = own.diverged or f"{better:.0%} better · {worse:.0%} worse"
            dots = {"": Points(before, after, colours[label])}
            panels[f"{label}\n{words}"] = Scatter(dots, "unit")
    title = f"What adaptation did to each test client · {results.source}"
    nothing = {"no client's accuracy changed": Scatter({}, "unit")}
    return scatter(panels or nothing, title, "accuracy before", "", y="after")


def overhead_bars(overhead: pd.DataFrame, source: str) -> Figure:
    """Rounds, traffic and compute until the target is reached (paper, Fig. 3).

    Horizontal bars with words at their ends, a panel a cost, each to its scale. Where
    the target was not reached there are only words.

    Args:
        overhead: the result of ``overhead_table``.
    """
    labels = list(overhead["algorithm"])
    target = overhead["target"].iloc[0] if labels else np.nan
    figure, drawn = s.panels(
        {title: (column, text) for column, title, text in COSTS},
        f"Cost of reaching {target:g} % validation accuracy · {source}",
        (11.5, 1.5 + 0.42 * max(len(labels), 1)),
        share_y=True,
    )
    colours = s.colours_of(labels)
    for panel, _, (column, text) in drawn:
        bars = [_cost(row, column, text) for _, row in overhead.iterrows()]
        for place, (label, (value, words)) in enumerate(zip(labels, bars, strict=True)):
            measured = np.isfinite(value)
            if measured:
                panel.barh(place, value, height=0.62, color=colours[label])
            style = {} if measured else {"color": "#777777", "style": "italic"}
            s.write_beside(panel, words, value if measured else 0, place, **style)
        longest = max((value for value, _ in bars if value > 0), default=1)
        wordy = any(len(words) >= 20 for _, words in bars)
        panel.set_xlim(0, longest * (1.9 if wordy else 1.35))
        panel.set_xticks([])
        panel.grid(visible=False)
        panel.spines["bottom"].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.4, -0.6)  # the first on top
    return figure


def _cost(
    row: pd.Series, column: str, text: Callable[[float], str]
) -> tuple[float, str]:
    """A cost of a row of ``overhead_table``, nan if not reached, and its words."""
    if row["outcome"] != REACHED:
        best = row["best_accuracy"] if column == "rounds" else np.nan
        known = "" if np.isnan(best) else f" (best {best:.1f} %)"
        return np.nan, f"{row['outcome']}{known}"
    apart = row["flops_difference"] if column == "flops" else np.nan
    counted = "" if np.isnan(apart) else f"  (counted {apart:+.1f} %)"
    return float(row[column]), f"{text(row[column])}{counted}"


def cost_curves(targets: pd.DataFrame, source: str) -> Figure:
    """Rounds, traffic and compute by the accuracy to reach, with 95 % intervals.

    Args:
        targets: the result of ``targets_table``.
    """
    groups = {title: _costs(targets, column) for column, title, _ in COSTS}
    return c.curves(
        groups,
        f"Cost by target accuracy on validation clients · {source}",
        {title: c.Axis("", "", text=text) for _, title, text in COSTS},
        "validation accuracy after adaptation, %",
        "no target was reached",
    )


def _costs(targets: pd.DataFrame, column: str) -> dict[str, c.Line]:
    names = [column, f"{column}_low", f"{column}_high"]
    dearest = targets[names].astype(float).max(axis=None)
    lines = {}
    for label, rows in targets.groupby("algorithm", sort=False):
        known = rows.set_index("target")[names].astype(float).dropna(subset=column)
        words = " ".join(rows.get("training", pd.Series(dtype=str)).dropna().unique())
        high = known[names[2]].fillna(dearest)
        lines[label] = c.Line(known[column], known[names[1]], high, words=words)
    return lines


def _by_support(results: Results) -> Groups:
    """Results by label, by panels' titles: support fraction and number of seeds."""
    groups: Groups = {}
    for p, found in results.by("support_fraction").items():
        seeds = counted(found.seeds, "seed")
        groups[f"{percent(p)} support, {seeds}"] = by_label(found)
    return groups
