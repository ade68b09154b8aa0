"""Tables over seeds as words, for pages and for Markdown; the best in bold."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from fedmeta.identity import in_words
from fedmeta.reporting.recommendation_tables import column
from fedmeta.reporting.shown import Cell, Shown, shown
from fedmeta.reporting.wording import MISSING
from fedmeta.reproduction.settings import Other
from fedmeta.reproduction.tables import diverged_words, label_of, percent

NOT_RUN = "missing"


def accuracy_words(table: pd.DataFrame, fractions: Sequence[float]) -> Shown:
    """Accuracy after adaptation, and the paper's beside it if the table has it.

    Args:
        table: The result of ``table2``.
        fractions: Its support fractions.
    """
    paper = any(column("paper", p) in table for p in fractions)
    columns: dict[str, Callable[[pd.Series, float], Cell]] = {
        "ours": lambda row, p: _mean(row, "after", p, table[column("after", p)].max()),
    }
    if paper:
        columns["paper"] = lambda row, p: Cell(
            _number(row[column("paper", p)]),
            row[column("paper", p)] == table[column("paper", p)].max(),
        )
        columns["diff."] = lambda row, p: Cell(
            _points(row[column("difference", p)]), False
        )
    return _by_fraction(table, fractions, columns)


def before_words(table: pd.DataFrame, fractions: Sequence[float]) -> Shown:
    """Accuracy of the shared model as it is.

    Args:
        table: The result of ``table2``.
        fractions: Its support fractions.
    """
    return _by_fraction(
        table, fractions, {"before": lambda row, p: _mean(row, "before", p, None)}
    )


def gain_words(table: pd.DataFrame, fractions: Sequence[float]) -> Shown:
    """FedMeta over FedAvg.

    Args:
        table: The result of ``gains_table``.
        fractions: Its support fractions.
    """
    columns = {"ours": lambda row, p: Cell(_points(row[column("gain", p)]), False)}
    if any(column("paper", p) in table for p in fractions):
        columns["paper"] = lambda row, p: Cell(_points(row[column("paper", p)]), False)
    return _by_fraction(table, fractions, columns)


def overhead_words(table: pd.DataFrame) -> Shown:
    """The cost of the target accuracy.

    Args:
        table: ``overhead_table`` with a first column "support_fraction".
    """
    names = ["support_fraction", "algorithm", "outcome", "best_accuracy", "rounds"]
    names += ["bytes_total", "flops", "communication_reduction"]
    return shown(table[names])


def other_words(other: Other) -> str:
    """Runs that were left out, and why."""
    who = ", ".join(label_of(name) for name in other.algorithms)
    theirs, ours = ({n: pair[i] for n, pair in other.differs.items()} for i in (0, 1))
    differs = in_words(other.differs, theirs, ours)
    return f"Left out: {counted(other.runs)} of {who} with {differs}."


def counted(runs: int) -> str:
    """ "1 run", "2 runs"."""
    return f"{runs} run{'s' * (runs != 1)}"


def _by_fraction(
    table: pd.DataFrame,
    fractions: Sequence[float],
    columns: Mapping[str, Callable[[pd.Series, float], Cell]],
) -> Shown:
    groups = [(f"{percent(p)} support", len(columns)) for p in fractions]
    titles = [title for _ in fractions for title in columns]
    rows = [
        [
            Cell(row["algorithm"], False),
            *(make(row, p) for p in fractions for make in columns.values()),
        ]
        for _, row in table.iterrows()
    ]
    return Shown(["Algorithm", *titles], [("", rows)], [("", 1), *groups])


def _mean(row: pd.Series, name: str, p: float, best: float | None) -> Cell:
    """ "88.46 ± 0.25 (3)": mean, standard deviation, number of seeds."""
    value, sd = row[column(name, p)], row[column(f"{name}_sd", p)]
    if pd.isna(value):
        lost, seeds = row[column("diverged", p)], row[column("n", p)]
        return Cell(diverged_words(lost, seeds) if lost else NOT_RUN, False)
    deviation = "" if pd.isna(sd) else f" ± {sd:.2f}"
    text = f"{value:.2f}{deviation} ({row[column('n', p)]})"
    return Cell(text, value == best)


def _number(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:.2f}"


def _points(value: float) -> str:
    return MISSING if pd.isna(value) else f"{round(value, 2) + 0.0:+.2f}"
