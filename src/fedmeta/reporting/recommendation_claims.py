"""Does the paper's order of the methods hold here, and which method is best?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fedmeta.reporting.measures import Value
from fedmeta.reporting.recommendation_tables import TOPS, column
from fedmeta.reporting.verdicts import Claim, close, every, greater

Row = tuple[str, int]  # a method's id and its number of steps
Tables = Mapping[int, pd.DataFrame]  # seed -> a ``table3``

MOST, FEW = 0.8, 0.05  # the paper's two support fractions
CLOSE = 1.0  # points within which two methods are about equal
TITLES = dict(zip(TOPS, ("Top-1", "Top-4"), strict=True))

MRU: Row = ("mru", 0)
LR, NN, NN_LONG = ("lr", 100), ("nn", 100), ("nn", 10_000)
MAML_LR, META_SGD_LR = ("maml_lr", 100), ("meta_sgd_lr", 100)
MAML_NN, META_SGD_NN = ("maml_nn", 100), ("meta_sgd_nn", 100)


def orderings(tables: Tables) -> list[Claim]:
    """What the paper's Table 3 says of the methods' order, checked over seeds."""
    table = next(iter(tables.values()))
    others = [row for row in _rows(table) if row != META_SGD_NN]
    strong = [META_SGD_NN, MAML_NN, META_SGD_LR]
    beat = "Meta-SGD + NN, MAML + NN and Meta-SGD + LR beat LR and NN at 100 steps"
    return [
        _above(
            "80 % support: Meta-SGD + NN is best",
            tables,
            [META_SGD_NN],
            others,
            [column(top, MOST) for top in TOPS],
        ),
        *(
            _above(
                f"{100 * fraction:g} % support: {beat}",
                tables,
                strong,
                [LR, NN],
                [column(top, fraction) for top in TOPS],
            )
            for fraction in (MOST, FEW)
        ),
        _above(
            "80 % support: MAML + LR is the worst federated method, below LR at 100 "
            "steps",
            tables,
            [*strong, LR],
            [MAML_LR],
            [column(top, MOST) for top in TOPS],
        ),
        _about_equal(tables),
        _above(
            "5 % support: MAML + NN and Meta-SGD + NN beat MRU, and NN at 10,000 "
            "steps, on Top-1",
            tables,
            [MAML_NN, META_SGD_NN],
            [NN_LONG, MRU],
            [column("top1", FEW)],
        ),
        _above(
            "5 % support: MRU is best on Top-4",
            tables,
            [MRU],
            [row for row in _rows(table) if row != MRU],
            [column("top4", FEW)],
        ),
        _same_for_all_support(tables),
    ]


def verdict(table: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> str:
    """Which method is best, and, where that is not Meta-SGD + NN, what is known of why.

    Args:
        table: The result of ``table3``.
        histories: By label, a row an evaluated episode.
    """
    measured = [
        name.removeprefix("top1_")
        for name in table
        if name.startswith("top1_") and table[name].notna().any()
    ]
    if not measured:
        return "No test user has been evaluated."
    behind = [text for percent in measured if (text := _behind(table, percent))]
    training = _training(table, histories) if behind else ""
    names = table.drop_duplicates("id").set_index("id")["method"]
    lost = [f"{names[name]} {words}." for name, words in _diverged(table).items()]
    shares = [f"With {percent} %" for percent in measured]
    shares[0] += " of a user's records to learn from"
    best = [
        f"{share}, {_best(table, percent)}"
        for share, percent in zip(shares, measured, strict=True)
    ]
    return " ".join([*best, *behind, training, *lost]).strip()


def name_of(table: pd.DataFrame, row: Row) -> str:
    """A row's method, with its steps where the method has several rows."""
    method, steps = row
    rows = table[table["id"] == method]
    if rows.empty:
        return method
    label = rows["method"].iloc[0]
    return label if len(rows) == 1 else f"{label} at {steps:,} steps"


def _rows(table: pd.DataFrame) -> list[Row]:
    return list(zip(table["id"], table["steps"].fillna(0), strict=True))


def _value(tables: Tables, row: Row, name: str) -> Value:
    """A cell of the tables, missing where one has no such row or column."""
    found = {}
    for seed, table in tables.items():
        if words := _diverged(table).get(row[0]):
            return Value(pd.Series(dtype=float), words)
        rows = _rows(table)
        there = name in table and row in rows
        found[seed] = table[name].iloc[rows.index(row)] if there else np.nan
    return Value(pd.Series(found, dtype=float))


def _diverged(table: pd.DataFrame) -> dict[str, str]:
    """What is said of the trainings that diverged, by the method's id."""
    if "training" not in table:
        return {}
    return table.dropna(subset="training").set_index("id")["training"].to_dict()


def _above(
    claim: str,
    tables: Tables,
    winners: Sequence[Row],
    losers: Sequence[Row],
    names: Sequence[str],
) -> Claim:
    """Whether every winner is above every loser in every column."""
    held, figures = [], []
    table = next(iter(tables.values()))
    for name in names:
        high = {row: _value(tables, row, name) for row in winners}
        low = {row: _value(tables, row, name) for row in losers}
        held += [greater(a, b) for a in high.values() for b in low.values()]
        lost = [row for row, value in low.items() if value.diverged]
        strongest = (
            lost or sorted(low, key=lambda row: np.nan_to_num(float(low[row])))[-1:]
        )
        figures.append(
            f"{TITLES[name.partition('_')[0]]}: "
            + ", ".join(f"{name_of(table, r)} {v}" for r, v in high.items())
            + " against "
            + ", ".join(f"{name_of(table, r)} {low[r]}" for r in strongest)
        )
    return Claim(claim, "; ".join(figures), every(held))


def _about_equal(tables: Tables) -> Claim:
    rows = [MAML_NN, META_SGD_NN]
    one, other = (_value(tables, row, column("top1", FEW)) for row in rows)
    return Claim(
        "5 % support: MAML + NN and Meta-SGD + NN are about equal on Top-1 (within "
        f"{CLOSE:g} point)",
        f"Top-1: MAML + NN {one}, Meta-SGD + NN {other}",
        close(one, other, CLOSE),
    )


def _same_for_all_support(tables: Tables) -> Claim:
    held, figures = [], []
    for top in TOPS:
        most, few = (_value(tables, MRU, column(top, p)) for p in (MOST, FEW))
        held.append(close(most, few, 0))
        figures.append(f"{TITLES[top]}: {most} with 80 %, {few} with")
    return Claim(
        "MRU does not depend on the support",
        " 5 %; ".join(figures) + " 5 %",
        every(held),
    )


def _best(table: pd.DataFrame, percent: str) -> str:
    names = [f"{top}_{percent}" for top in TOPS]
    first, second = (_rows(table)[table[name].argmax()] for name in names)
    one, four = (table[name].max() for name in names)
    if first == second:
        return (
            f"{name_of(table, first)} is best: its first suggestion is right in "
            f"{one:.1f} % of cases, one of its first four in {four:.1f} %."
        )
    return (
        f"{name_of(table, first)} is best with one suggestion ({one:.1f} % "
        f"right) and {name_of(table, second)} with four ({four:.1f} %)."
    )


def _behind(table: pd.DataFrame, percent: str) -> str:
    """By how much Meta-SGD + NN is not the best, and what the best has that it lacks.

    Empty if it is the best, or was not scored.
    """
    name = f"top1_{percent}"
    own, best = float(_value({0: table}, META_SGD_NN, name)), table[name].max()
    if np.isnan(own) or own == best:
        return ""
    winner = table.loc[table[name].idxmax()]
    row = (winner["id"], winner["steps"])
    return (
        f"With {percent} %, Meta-SGD + NN is {best - own:.1f} points behind "
        f"{name_of(table, row)}, {_advantage(row, winner['kind'])}."
    )


def _advantage(row: Row, kind: str) -> str:
    method, steps = row
    own = META_SGD_NN[1]
    if row == MRU:
        return "which repeats the last service: here users go on with it that often"
    if kind == "mixed":
        return "which was trained on all training users' records in one place"
    if kind == "meta":
        return "which differs from it in nothing but algorithm and model"
    if steps > own:
        return f"which takes {steps:,} steps on a user's own records instead of {own}"
    return "which learns from a user's own records alone"


def _training(table: pd.DataFrame, histories: Mapping[str, pd.DataFrame]) -> str:
    """Whether Meta-SGD + NN was still learning when its training ended."""
    label = name_of(table, META_SGD_NN)
    history = histories.get(label, pd.DataFrame())
    if history.empty or history["validation_accuracy_after"].isna().all():
        return ""
    history = history.dropna(subset="validation_accuracy_after").sort_values("round")
    best = history.loc[history["validation_accuracy_after"].idxmax()]
    last = history.iloc[-1]
    if best["round"] == last["round"]:
        return (
            f"{label}'s validation accuracy was highest in the last episode evaluated "
            f"({int(last['round']):,}), so more episodes may help."
        )
    return (
        f"{label}'s validation accuracy was highest after episode "
        f"{int(best['round']):,} ({100 * best['validation_accuracy_after']:.1f} %) and "
        f"{100 * last['validation_accuracy_after']:.1f} % at the end, so more episodes "
        "would hardly help."
    )
