"""Figures that compare algorithms, a panel a support fraction, over all seeds."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedmeta.reporting import curves as c
from fedmeta.reporting.fairness import client_accuracies
from fedmeta.reporting.figure_kinds import Bar, Points, Scatter, bars, scatter
from fedmeta.reporting.measures import AFTER, BEFORE
from fedmeta.reporting.results import Results
from fedmeta.reporting.style import colours_of
from fedmeta.reporting.tables import REACHED
from fedmeta.reporting.wording import bytes_text, flops_text, label_of, percent

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
    groups: dict[str, c.Lines] = {}
    axes: dict[str, c.Axis] = {}
    for who, column, beside in (
        ("validation", "validation_loss_after", "validation_loss_before"),
        ("training clients", "train_loss", None),
    ):
        groups_of = _by_support(results)
        if column == "train_loss":
            groups_of = {
                title: {label: found for label, found in group.items() if _works(found)}
                for title, group in groups_of.items()
            }
        found = c.by_round(groups_of, column, beside=beside)
        named = {", ".join(filter(None, [who, k])): v for k, v in found.items()}
        groups |= named
        axes |= dict.fromkeys(named, c.LOSS._replace(title=f"{who}\n{c.LOSS.title}"))
    title = f"Loss by round · {results.source}"
    return c.curves(groups, title, axes or c.LOSS, rows=2 if len(groups) > 2 else 1)  # noqa: PLR2004


def _works(results: Results) -> bool:
    """Whether clients compute in rounds: there are algorithms that only adapt."""
    worked = results.histories.groupby("seed", dropna=False)["client_rounds"]
    return results.diverged != "" or bool((worked.max() > worked.min()).any())


def client_density(results: Results) -> Figure:
    """How test clients' accuracies after adaptation are spread (paper, Fig. 4 and 5).

    The clients of all seeds together: each is counted once a seed. Where a seed's
    training diverged, those of the others alone would say too much.
    """
    groups = {
        title: {
            label: (
                np.array([])
                if found.diverged
                else client_accuracies(found)["after"].to_numpy(),
                found.diverged,
            )
            for label, found in group.items()
        }
        for title, group in _by_support(results).items()
    }
    title = f"Accuracy of each test client after adaptation · {results.source}"
    x = "share of the client's query records right"
    return c.densities(groups, title, x, "no test client")


def adaptation_effect(results: Results) -> Figure:
    """Every test client's accuracy before against after: below the line is worse.

    Algorithms whose adaptation changes no client at all are left out; of one that
    diverged it is said.
    """
    found = {label_of(k): v for k, v in results.by("algorithm").items()}
    colours, panels = colours_of(found), {}
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

    Args:
        overhead: the result of ``overhead_table``.
    """

    def bar(row: pd.Series, column: str, text: Callable[[float], str]) -> Bar:
        if row["outcome"] != REACHED:
            best = row["best_accuracy"] if column == "rounds" else np.nan
            known = "" if np.isnan(best) else f" (best {best:.1f} %)"
            return Bar(np.nan, f"{row['outcome']}{known}")
        apart = row["flops_difference"] if column == "flops" else np.nan
        counted = "" if np.isnan(apart) else f"  (counted {apart:+.1f} %)"
        return Bar(float(row[column]), f"{text(row[column])}{counted}")

    target = overhead["target"].iloc[0] if len(overhead) else np.nan
    return bars(
        {
            title: {
                row["algorithm"]: bar(row, column, text)
                for _, row in overhead.iterrows()
            }
            for column, title, text in COSTS
        },
        f"Cost of reaching {target:g} % validation accuracy · {source}",
    )


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
        seeds = f"{found.seeds} seed{'s' * (found.seeds != 1)}"
        by_label = {label_of(k): v for k, v in found.by("algorithm").items()}
        groups[f"{percent(p)} support, {seeds}"] = by_label
    return groups
