"""The report's figures. Each takes tables and the words that say what the data are."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.fairness import client_accuracies
from fedmeta.reporting.figure_kinds import (
    LOSS,
    Line,
    curves,
    humps,
    line,
    unit_axis,
)
from fedmeta.reporting.style import (
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    WORSE,
    colours_of,
    panels,
    say,
)
from fedmeta.reporting.tables import REACHED, Tables
from fedmeta.reporting.wording import NOT_FINITE, bytes_text, flops_text

# Costs until a target is reached: column, title, how a value is written.
COST_PANELS: list[tuple[str, str, Callable[[float], str]]] = [
    ("rounds", "rounds", lambda value: f"{value:,.0f}"),
    ("bytes_total", "traffic, received and sent", bytes_text),
    ("flops", "compute by formula", flops_text),
]


def accuracy_curves(
    histories: Tables, source: str, target: float | None = None
) -> Figure:
    """Validation accuracy by round, after and before adaptation (paper, Fig. 2).

    Args:
        histories: A row an evaluated round.
        source: What the data are, for the title.
        target: An accuracy (fraction) to mark with a line.
    """
    names = ("validation_accuracy_after", "validation_accuracy_before")
    title = f"Validation accuracy by round · {source}"
    return curves({"": lines(histories, *names)}, title, target=target)


def loss_curves(histories: Tables, source: str) -> Figure:
    """Loss by round, on validation clients and on the clients being trained."""
    groups = {
        "validation clients, after adaptation (dashed: before)": lines(
            histories, "validation_loss_after", "validation_loss_before"
        ),
        "training clients": lines(histories, "train_loss"),
    }
    return curves(groups, f"Loss by round · {source}", LOSS, shared=False)


def lines(histories: Tables, solid: str, beside: str | None = None) -> dict[str, Line]:
    """Curves of a column of histories by label, and perhaps of one beside it."""
    found = {k: line([h], solid, beside) for k, h in histories.items()}
    return {
        label: one._replace(
            words=divergence(history)
            or (NOT_FINITE if one.values.empty and len(history) > 1 else "")
        )
        for (label, one), history in zip(found.items(), histories.values(), strict=True)
    }


def accuracy_density(scores: Tables, source: str, min_query: int = 1) -> Figure:
    """How the clients' accuracies after adaptation are spread (paper, Fig. 4 and 5).

    A Gaussian kernel density with Scott's bandwidth; clients that are all equal have
    none and become an upright line. Triangles mark the mean over clients.
    """
    title = f"Accuracy of each test client after adaptation · {source}"
    figure, (panel,) = panels(1, title, (9, 4.2))
    colours = colours_of(scores)
    after = {
        label: client_accuracies(table, min_query)["after"].to_numpy(float)
        for label, table in scores.items()
    }
    drawn = humps(panel, after, colours)
    for label, hump in drawn.items():
        hump.set_label(f"{label}, mean {after[label].mean():.1%}")
    for label, table in scores.items():
        if words := divergence(table):
            panel.plot([], color=colours[label], label=f"{label} {words}")
    if panel.lines:
        place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        panel.legend(frameon=False, fontsize=SMALL_SIZE, **place)
    else:
        say(panel, "no test client")
    if all(len(hump.get_xdata()) <= 2 for hump in drawn.values()):  # uprights alone
        panel.set_yticks([])
    lowest = min((v.min() for v in after.values() if len(v)), default=1.0)
    unit_axis(panel, lowest, "share of the client's query records right")
    panel.set_ylim(bottom=0)
    panel.set_ylabel("density of clients", fontsize=LABEL_SIZE)
    return figure


def adaptation_effect(scores: Tables, source: str, min_query: int = 1) -> Figure:
    """Every test client's accuracy before against after: below the line is worse.

    Algorithms whose adaptation changes no client at all are left out; of one that
    diverged it is said.
    """
    tables = {k: client_accuracies(v, min_query) for k, v in scores.items()}
    changing = {
        k: v
        for k, v in tables.items()
        if (v["before"] != v["after"]).any() or divergence(scores[k])
    }
    count = max(len(changing), 1)
    title = f"What adaptation did to each test client · {source}"
    size = (2.6 * max(count, 2) + 0.5, 3.4)
    figure, axes = panels(count, title, size, share_y=True)
    if not changing:
        say(axes[0], "no client's accuracy changed")
        axes[0].set_axis_off()
        return figure
    colours = colours_of(scores)
    for panel, (label, table) in zip(axes, changing.items(), strict=True):
        panel.fill_between([0, 1], [0, 1], color=WORSE, alpha=0.08, linewidth=0)
        panel.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        panel.scatter(
            table["before"], table["after"], s=14, alpha=0.55, color=colours[label]
        )
        better = (table["after"] > table["before"]).mean()
        worse = (table["after"] < table["before"]).mean()
        words = divergence(scores[label])
        panel.set_title(
            f"{label}\n{words or f'{better:.0%} better · {worse:.0%} worse'}",
            fontsize=SMALL_SIZE,
            color=colours[label],
            weight="bold",
        )
        limits = (-0.02, 1.02)  # a dot at 100 % is seen whole
        panel.set(xlim=limits, ylim=limits, aspect="equal", xticks=[0, 0.5, 1])
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].set_ylabel("accuracy after", fontsize=LABEL_SIZE)
    figure.supxlabel("accuracy before adaptation, a dot a client", fontsize=LABEL_SIZE)
    return figure


def overhead_bars(overhead: pd.DataFrame, source: str) -> Figure:
    """Rounds, traffic and compute until the target is reached (paper, Fig. 3).

    Args:
        overhead: The result of ``overhead_table``.
        source: What the data are, for the title.
    """
    target = overhead["target"].iloc[0] if len(overhead) else np.nan
    title = f"Cost of reaching {target:g} % validation accuracy · {source}"
    height = 1.5 + 0.42 * max(len(overhead), 1)
    figure, axes = panels(3, title, (11.5, height), share_y=True)
    for panel, (column, name, text) in zip(axes, COST_PANELS, strict=True):
        notes = overhead["flops_difference"] if column == "flops" else None
        _bars(panel, overhead, column, text, notes)
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
    axes[0].set_yticks(range(len(overhead)), overhead["algorithm"])
    axes[0].set_ylim(len(overhead) - 0.4, -0.6)  # the first algorithm on top
    return figure


def cost_curves(targets: pd.DataFrame, source: str) -> Figure:
    """Rounds, traffic and compute by the accuracy to reach, with 95 % intervals.

    Args:
        targets: The result of ``targets_table``.
        source: What the data are, for the title.
    """
    title = f"Cost by target accuracy on validation clients · {source}"
    figure, axes = panels(3, title, (12.5, 4))
    if targets["rounds"].isna().all():
        say(axes[1], "no target was reached")
        return figure
    colours = colours_of(targets["algorithm"].unique())
    for panel, (column, name, text) in zip(axes, COST_PANELS, strict=True):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _, text=text: text(y)))
        panel.xaxis.set_major_formatter(PercentFormatter(decimals=0))
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        names = [f"{column}{end}" for end in ("", "_low", "_high")]
        dearest = targets[names].astype(float).max(axis=None)
        for label, rows in targets.groupby("algorithm", sort=False):
            known = rows[["target", *names]].astype(float).dropna(subset=column)
            low, high = known[names[1]], known[names[2]].fillna(dearest)
            colour = colours[label]
            words = rows.get("training", pd.Series(dtype=str)).dropna().unique()
            said = " ".join([label, *words])
            panel.plot(known["target"], known[column], color=colour, label=said)
            panel.fill_between(known["target"], low, high, color=colour, alpha=0.12)
        panel.set_ylim(bottom=0)
    axes[0].set_xlabel("validation accuracy after adaptation", fontsize=LABEL_SIZE)
    axes[-1].legend(
        frameon=False,
        fontsize=SMALL_SIZE,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
    )
    return figure


def _bars(
    panel: Axes,
    overhead: pd.DataFrame,
    column: str,
    text: Callable[[float], str],
    counted: pd.Series | None,
) -> None:
    """A horizontal bar an algorithm with its value, or words where it has none."""
    values = overhead[column].to_numpy(float, na_value=np.nan)
    colours = colours_of(overhead["algorithm"])
    best = overhead["best_accuracy"].tolist()
    longest = np.nanmax(values) if np.isfinite(values).any() else 0.0
    for place, (label, outcome, value) in enumerate(
        zip(overhead["algorithm"], overhead["outcome"], values, strict=True)
    ):
        reached = outcome == REACHED
        words = text(value) if reached else outcome
        if not reached and column == "rounds" and not pd.isna(best[place]):
            words += f" (best {best[place]:.1f} %)"
        if reached and counted is not None and np.isfinite(counted.iloc[place]):
            words += f"  (counted {counted.iloc[place]:+.1f} %)"
        if reached:
            panel.barh(place, value, height=0.62, color=colours[label])
        panel.annotate(
            words,
            (value if reached else 0, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL_SIZE,
            color=INK if reached else "#777777",
            style="normal" if reached else "italic",
        )
    # room for the words
    panel.set_xlim(0, (longest or 1.0) * (1.35 if counted is None else 1.9))
    panel.set_xticks([])
    panel.grid(visible=False)
    panel.spines["bottom"].set_visible(False)
    panel.tick_params(axis="y", length=0)
