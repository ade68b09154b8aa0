"""The recommendation study's tables as words: headings in two levels, best in bold."""

from typing import Any, NamedTuple

import pandas as pd

from fedmeta.reporting.divergence import columns_in_sight
from fedmeta.reporting.wording import MISSING, TRAINING, Column, column_of

KINDS = {
    "alone": "Alone: nothing but the user's own records",
    "mixed": "Unified: one model of all users' records in one place",
    "meta": "Federated: meta-learned, records stay with their users",
}
PAPER_PREFIX = "paper_"


class Cell(NamedTuple):
    """A cell, and whether it is its column's best."""

    text: str
    best: bool


class Heading(NamedTuple):
    """A column's heading.

    Attributes:
        whose: "Paper", or empty for what was measured here.
        support: Such as "80 %"; empty where a column has none.
        title: Such as "Top-1".
    """

    whose: str
    support: str
    title: str


def headings(table: pd.DataFrame) -> list[Heading]:
    """The headings of the columns that are shown."""
    return [_heading(name) for name in _shown(table)]


def cells(table: pd.DataFrame) -> list[list[Cell]]:
    """The cells that are shown, row by row."""
    columns = {name: _column(name) for name in _shown(table)}
    best = {name: table[name].max() for name in columns if name not in LABELS}
    return [
        [
            Cell(_text(row[name], column), name in best and row[name] == best[name])
            for name, column in columns.items()
        ]
        for _, row in table.iterrows()
    ]


def _shown(table: pd.DataFrame) -> list[str]:
    """Columns for people; what a page says once, or as a heading, is left out."""
    return [
        name
        for name in columns_in_sight(table)
        if name in LABELS or _measure(name) in MEASURES
    ]


def _measure(name: str) -> str:
    return name.removeprefix(PAPER_PREFIX).rpartition("_")[0]


def _column(name: str) -> Column:
    return LABELS.get(name) or MEASURES[_measure(name)]


def _heading(name: str) -> Heading:
    if name in LABELS:
        return Heading("", "", LABELS[name].title)
    whose = "Paper" if name.startswith(PAPER_PREFIX) else ""
    return Heading(whose, f"{name.rpartition('_')[2]} %", _column(name).title)


def _text(value: Any, column: Column) -> str:
    return MISSING if pd.isna(value) else column.text(value)


def _two_decimals(value: float) -> str:
    return f"{value:.2f}"


LABELS = {
    "method": Column("Method", str),
    "training": TRAINING,
    "steps": Column("Steps", lambda steps: f"{int(steps):,}" if steps else MISSING),
    "parameters": Column("Parameters", column_of("parameters").text),
}
MEASURES = {
    "top1": Column("Top-1", _two_decimals),
    "top4": Column("Top-4", _two_decimals),
    "mean_top1": Column("Mean Top-1", _two_decimals),
    "mean_top4": Column("Mean Top-4", _two_decimals),
    "p10_top1": Column("10th percentile", _two_decimals),
    "beats_mru": Column("Beats MRU", lambda share: f"{share:.0f} %"),
}
