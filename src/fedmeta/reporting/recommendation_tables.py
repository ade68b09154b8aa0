"""Top-1 and Top-4 accuracy of every recommender (paper, Table 3).

*Scores* are long: a row a test user, support fraction and number of training steps,
with the hits among the user's query records. Accuracies are in percent.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedmeta.reporting.divergence import training_cell

Scores = Mapping[str, pd.DataFrame]  # a method's label -> its scores

TOPS = ("top1", "top4")
TABLE_STEPS = (100, 1_000, 10_000)  # of a learning curve, the table shows these
NAIVE = "mru"  # what users are compared with, one by one


class Method(NamedTuple):
    """A way to recommend.

    Attributes:
        id: Such as "meta_sgd_nn".
        label: Such as "Meta-SGD + NN".
        kind: "alone" (one user's own records), "mixed" (all users' records in one
            place) or "meta" (federated).
        parameters: Of algorithm and model together, as the paper counts; None if it
            has none.
    """

    id: str
    label: str
    kind: str
    parameters: int | None


# Percent, by method and steps (0: not stated), then support: (Top-1, Top-4).
PAPER: dict[tuple[str, int], dict[float, tuple[float, float]]] = {
    ("unified", 0): {0.8: (76.72, 89.13), 0.05: (66.47, 79.88)},
    ("mfu", 0): {0.8: (42.92, 81.49), 0.05: (42.18, 72.87)},
    ("mru", 0): {0.8: (70.44, 81.43), 0.05: (70.44, 81.43)},
    ("nb", 0): {0.8: (78.18, 92.57), 0.05: (59.16, 72.83)},
    ("lr", 100): {0.8: (58.30, 86.52), 0.05: (52.53, 75.25)},
    ("lr", 10_000): {0.8: (78.31, 93.70), 0.05: (65.35, 77.11)},
    ("nn", 100): {0.8: (57.20, 88.37), 0.05: (49.89, 75.26)},
    ("nn", 10_000): {0.8: (83.79, 94.56), 0.05: (68.87, 77.66)},
    ("maml_lr", 100): {0.8: (47.69, 71.60), 0.05: (46.75, 66.26)},
    ("meta_sgd_lr", 100): {0.8: (81.70, 93.56), 0.05: (72.32, 77.94)},
    ("maml_nn", 100): {0.8: (83.87, 94.88), 0.05: (73.08, 78.02)},
    ("meta_sgd_nn", 100): {0.8: (86.23, 96.46), 0.05: (72.98, 78.17)},
}


def table3(
    methods: Sequence[Method], scores: Scores, source: str, paper: bool
) -> pd.DataFrame:
    """The accuracy of every method, over all query records of all test users.

    Args:
        methods: In the order in which they are to be shown.
        scores: May lack a method, which then has a row of missing values.
        source: What the data are; repeated in every row.
        paper: Whether to set the published accuracies beside.

    Returns:
        A row a method and number of steps: ``TABLE_STEPS`` and a method's last. Columns
        ``id``, ``kind``, ``method``, ``source``, ``steps`` (0 where it has no meaning),
        ``parameters``, then by support fraction ``top1_80``, ``top4_80`` and so on,
        and ``paper_top1_80`` and so on. If a training diverged, ``training`` says so.
    """
    fractions = support_fractions(scores)

    def measure(rows: pd.DataFrame, fraction: float) -> dict[str, float]:
        queries = rows["num_query"].sum()
        return {top: _percent(rows[top].sum(), queries) for top in TOPS}

    table = _by_method(methods, scores, source, measure)
    if paper:
        for fraction in fractions:
            for place, top in enumerate(TOPS):
                table[f"paper_{column(top, fraction)}"] = [
                    _published(row.id, row.steps, fraction)[place]
                    for row in table.itertuples()
                ]
    return table


def users_table(methods: Sequence[Method], scores: Scores, source: str) -> pd.DataFrame:
    """What single users get, every user counting the same; rows as in ``table3``.

    Returns:
        By support fraction: ``users``, ``mean_top1`` and ``mean_top4`` over users,
        ``p10_top1`` (1 user in 10 is below) and ``beats_mru``, the share of users for
        whom Top-1 is higher than that of repeating the last service.
    """

    def measure(rows: pd.DataFrame, fraction: float) -> dict[str, float]:
        users = user_accuracies(rows)
        against = users["top1"] - _naive_top1(methods, scores, fraction)  # by user
        against = against.dropna()
        return {
            "users": len(users),
            **{f"mean_{top}": 100 * users[top].mean() for top in TOPS},
            "p10_top1": 100 * users["top1"].quantile(0.1),
            "beats_mru": 100 * (against > 0).mean(),
        }

    return _by_method(methods, scores, source, measure)


def user_accuracies(scores: pd.DataFrame) -> pd.DataFrame:
    """Top-1 and Top-4 of every user as fractions, by client id.

    Args:
        scores: At most a row a user; users without a query record are left out.
    """
    kept = scores[scores["num_query"] > 0].set_index("client_id")
    return pd.DataFrame({top: kept[top] / kept["num_query"] for top in TOPS})


def support_fractions(scores: Scores) -> list[float]:
    """The support fractions of all methods, largest first."""
    found = {p for table in scores.values() for p in table["support_fraction"]}
    return sorted(found, reverse=True)


def steps_of(scores: pd.DataFrame) -> list[int]:
    """The numbers of steps that a method was scored at, fewest first."""
    return sorted(int(steps) for steps in scores["steps"].unique())


def at(scores: pd.DataFrame, fraction: float, steps: int) -> pd.DataFrame:
    """The rows of one support fraction and number of steps."""
    chosen = (scores["support_fraction"] == fraction) & (scores["steps"] == steps)
    return scores[chosen]


def column(measure: str, fraction: float) -> str:
    """A column's name: top1_80 is Top-1 with 80 % support."""
    return f"{measure}_{100 * fraction:g}"


def _by_method(
    methods: Sequence[Method],
    scores: Scores,
    source: str,
    measure: Callable[[pd.DataFrame, float], Mapping[str, float]],
) -> pd.DataFrame:
    """A row a method and number of steps, ``measure`` applied at every fraction."""
    rows = [
        {
            "id": method.id,
            "kind": method.kind,
            "method": method.label,
            "source": source,
            "steps": steps,
            "parameters": method.parameters,
            **{
                column(name, fraction): value
                for fraction in support_fractions(scores)
                if steps is not None
                for name, value in measure(
                    at(scores[method.label], fraction, steps), fraction
                ).items()
            },
            **training_cell(scores.get(method.label)),
        }
        for method in methods
        for steps in _shown_steps(scores.get(method.label))
    ]
    return pd.DataFrame(rows).astype({"steps": "Int64", "parameters": "Int64"})


def _shown_steps(scores: pd.DataFrame | None) -> list[int | None]:
    if scores is None or scores.empty:
        return [None]
    steps = steps_of(scores)
    return [step for step in steps if step in TABLE_STEPS or step == steps[-1]]


def _naive_top1(
    methods: Sequence[Method], scores: Scores, fraction: float
) -> pd.Series:
    label = next((method.label for method in methods if method.id == NAIVE), None)
    if label not in scores:
        return pd.Series(dtype=float)
    return user_accuracies(at(scores[label], fraction, 0))["top1"]


def _published(method: str, steps: int, fraction: float) -> tuple[float, float]:
    stated = PAPER.get((method, 0)) or PAPER.get((method, steps), {})
    return stated.get(fraction, (np.nan, np.nan))


def _percent(hits: int, queries: int) -> float:
    return 100 * hits / queries if queries else np.nan
