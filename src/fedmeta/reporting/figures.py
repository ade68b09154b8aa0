"""The report's figures. Each takes tables and the words that say what the data are."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from fedmeta.reporting import measures
from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.fairness import GRID, client_accuracies, density
from fedmeta.reporting.style import (
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    WORSE,
    colours_of,
    label_ends,
    panels,
    say,
)
from fedmeta.reporting.tables import REACHED, Tables
from fedmeta.reporting.wording import NOT_FINITE, bytes_text, flops_text

FEW_ROWS = 25  # a curve of so few points shows each of them
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
    figure, (panel,) = panels(1, f"Validation accuracy by round · {source}", (9, 4.8))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_ylabel("query records classified correctly", fontsize=LABEL_SIZE)
    panel.set_ylim(0, _highest(histories, "validation_accuracy", target))
    names = ("validation_accuracy_after", "validation_accuracy_before")
    curves_by_round(panel, histories, *names, "{:.1%}")
    _name_line_styles(panel)
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


def loss_curves(histories: Tables, source: str) -> Figure:
    """Loss by round, on validation clients and on the clients being trained."""
    figure, axes = panels(2, f"Loss by round · {source}", (11, 4.2))
    columns = [
        (
            "validation clients, after adaptation (dashed: before)",
            "validation_loss_after",
            "validation_loss_before",
        ),
        ("training clients", "train_loss", None),
    ]
    for panel, (title, solid, dashed) in zip(axes, columns, strict=True):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(LogLocator(subs=[]))
        panel.set_title(title, fontsize=LABEL_SIZE, loc="left", color=INK)
        curves_by_round(panel, histories, solid, dashed, "{:.2f}")
    axes[0].set_ylabel("nats a record (log scale)", fontsize=LABEL_SIZE)
    return figure


def accuracy_density(scores: Tables, source: str, min_query: int = 1) -> Figure:
    """How the clients' accuracies after adaptation are spread (paper, Fig. 4 and 5).

    A Gaussian kernel density with Scott's bandwidth; clients that are all equal have
    none and become an upright line. Triangles mark the mean over clients.
    """
    title = f"Accuracy of each test client after adaptation · {source}"
    figure, (panel,) = panels(1, title, (9, 4.2))
    lowest, curves = 1.0, []
    for label, colour in colours_of(scores).items():
        after = client_accuracies(scores[label], min_query)["after"].to_numpy(float)
        if not len(after):
            if words := divergence(scores[label]):
                panel.plot([], color=colour, label=f"{label} {words}")
            continue
        lowest = min(lowest, after.min())
        curve = density(after)
        curves.append(curve)
        text = f"{label}, mean {after.mean():.1%}"
        if curve is None:
            panel.axvline(after.mean(), color=colour, linewidth=2, label=text)
        else:
            panel.plot(GRID, curve, color=colour, linewidth=2, label=text)
        panel.plot(
            after.mean(),
            0,
            marker="^",
            markersize=8,
            color=colour,
            clip_on=False,
            transform=panel.get_xaxis_transform(),
            linestyle="none",
        )
    if panel.lines:
        panel.legend(
            frameon=False,
            fontsize=SMALL_SIZE,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
        )
    else:
        say(panel, "no test client")
    if all(curve is None for curve in curves):
        panel.set_yticks([])
    panel.set_xlim(_round_down(lowest), 1)
    panel.set_ylim(bottom=0)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_xlabel("share of the client's query records right", fontsize=LABEL_SIZE)
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


def curves_by_round(
    panel: Axes,
    histories: Tables,
    solid: str,
    dashed: str | None,
    value: str,
    unit: str = "round",
    colours: Mapping[str, str] | None = None,
) -> None:
    """A bold line an algorithm, its last value at its end, and a thin dashed one.

    A line has gaps where a value is not finite. Where a training diverged, its label
    says so in place of a value.

    Args:
        panel: Where to draw.
        histories: A row an evaluated round.
        solid: The column of the bold lines.
        dashed: The column of the dashed lines, if there are any.
        value: The format of a last value.
        unit: What the benchmark calls a round.
        colours: By label; those of ``colours_of`` unless given.
    """
    colours = colours_of(histories) if colours is None else colours
    panel.set_xlabel(unit, fontsize=LABEL_SIZE)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    drawn: list[pd.Series] = []
    ends: list[tuple[str, str, float]] = []
    for label, history in histories.items():
        colour, words = colours[label], divergence(history)
        curve = measures.curve(history, solid)
        if curve.empty:
            words = words or (NOT_FINITE if len(history) > 1 else "")
            if words:
                ends.append((f"{label} {words}", colour, np.nan))
            continue
        marker = "o" if len(curve) <= FEW_ROWS else None
        panel.plot(curve, color=colour, linewidth=2, marker=marker, markersize=3.5)
        drawn.append(curve)
        finite = curve.dropna()
        if not words and len(finite) < len(curve):
            words = _lost(curve, unit)
        text = words or value.format(finite.iloc[-1])
        ends.append((f"{label} {text}", colour, float(finite.iloc[-1])))
    if not ends:
        say(panel, f"no {unit} has been evaluated")
        return
    for label, history in histories.items():
        if dashed is None or history.empty:
            continue
        curve = measures.curve(history, dashed)
        # FedAvg(Meta) before adapting is FedAvg: its dashes would cover that line
        if not any(np.array_equal(curve, other, equal_nan=True) for other in drawn):
            dashes = (0, (4, 2))
            panel.plot(curve, color=colours[label], linewidth=1.1, linestyle=dashes)
    panel.margins(x=0.01)
    bottom = panel.get_ylim()[0]
    label_ends(panel, [(t, c, bottom if np.isnan(y) else y) for t, c, y in ends])


def _lost(curve: pd.Series, unit: str) -> str:
    """Where a curve, which goes on, is not finite."""
    gaps = curve.index[curve.isna()]
    more = " and on" if len(gaps) > 1 else ""
    return f"{NOT_FINITE} at {unit} {gaps[0]:,.0f}{more}"


def _name_line_styles(panel: Axes) -> None:
    if not panel.lines:
        return
    solid = Line2D([], [], color=INK, linewidth=2, label="after adaptation")
    dashed = Line2D(
        [], [], color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label="before"
    )
    panel.legend(
        handles=[solid, dashed],
        frameon=False,
        fontsize=SMALL_SIZE,
        loc="lower right",
        bbox_to_anchor=(1, 1.0),
        ncols=2,
        borderaxespad=0.2,
    )


def _highest(histories: Tables, column: str, target: float | None) -> float:
    """The upper limit of an accuracy axis: a little above all there is, at most 1."""
    values = [
        history[f"{column}_{when}"].max()
        for history in histories.values()
        if not history.empty
        for when in ("before", "after")
    ]
    highest = np.nanmax([*values, target or 0.0, 0.05])
    return float(min(1.0, 1.08 * highest))


def _round_down(lowest: float) -> float:
    """Where an accuracy axis begins: some way below the lowest client, in tenths."""
    return max(0.0, np.floor(10 * lowest - 0.5) / 10)


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
