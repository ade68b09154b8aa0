"""Means and standard deviations over seeds: the paper's Table 2, and what it tells.

A *cell* is an algorithm at a support fraction. Accuracies are in percent of all test
clients' query records (micro), gains in points.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.measures import Value, known
from fedmeta.reporting.recommendation_tables import column
from fedmeta.reporting.tables import BASELINE

MEASURES = {
    "after": "test/accuracy_after",
    "before": "test/accuracy_before",
    "macro_after": "test/macro_accuracy_after",
}
FEDMETA = ("FedMeta(MAML)", "FedMeta(Meta-SGD)")  # whose gains the paper states
Paper = Mapping[float, Mapping[str, float]]  # support fraction -> label -> %
Accuracies = Mapping[float, Mapping[str, Value]]  # the same, by seed


def label_of(algorithm: str) -> str:
    """An algorithm's name in tables; one that this code does not know keeps its own."""
    return ALGORITHMS[algorithm].label if algorithm in ALGORITHMS else algorithm


def percent(fraction: float) -> str:
    """A support fraction in words: 20 %."""
    return f"{100 * fraction:g} %"


def accuracy_cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy over seeds, a row a cell.

    Args:
        runs: A row an algorithm, support fraction and seed.

    Returns:
        ``algorithm`` (its label), ``support_fraction``, ``n`` (seeds), then the mean of
        each of `MEASURES` and its sample standard deviation, ``after_sd`` and so on,
        missing where n is 1. Both are missing where the training of a seed diverged:
        ``diverged`` is the number of those.
    """
    values = pd.DataFrame(
        {
            "algorithm": [label_of(name) for name in runs["algorithm"]],
            "support_fraction": runs["support_fraction"].to_numpy(),
            "diverged": (runs["diverged"] != "").to_numpy(),
            **{
                name: [100 * m.get(metric, np.nan) for m in runs["metrics"]]
                for name, metric in MEASURES.items()
            },
        }
    )
    groups = values.groupby(["algorithm", "support_fraction"], sort=False)
    cells = groups.size().rename("n").to_frame()
    cells["diverged"] = groups["diverged"].sum()
    for name in MEASURES:
        cells[name] = groups[name].mean(skipna=False)
        cells[f"{name}_sd"] = groups[name].std(ddof=1, skipna=False)
    return cells.reset_index()


def in_order(labels: Iterable[str]) -> list[str]:
    """Known algorithms in their order, then any others by name."""
    known = [entry.label for entry in ALGORITHMS.values()]
    found = set(labels)
    return [name for name in known if name in found] + sorted(found - set(known))


def table2(
    cells: pd.DataFrame,
    labels: Sequence[str],
    fractions: Sequence[float],
    paper: Paper | None,
    source: str,
) -> pd.DataFrame:
    """A row an algorithm, columns by support fraction (paper, Table 2).

    Args:
        cells: The result of ``accuracy_cells``.
        labels: The rows.
        fractions: The columns; a cell that was not measured is missing.
        paper: Published accuracies after adaptation, where they may be set beside.
        source: What the data are; repeated in every row.

    Returns:
        ``algorithm, source``, then ``after_20, after_sd_20, n_20, diverged_20,
        before_20, before_sd_20, macro_after_20, macro_after_sd_20, paper_20,
        difference_20`` and so on; ``difference`` is ours less the paper's.
    """
    table = pd.DataFrame({"algorithm": list(labels)})
    table["source"] = source
    measured = cells.set_index(["algorithm", "support_fraction"])
    for p in fractions:
        rows = measured.reindex([(label, p) for label in labels])
        for name in ("after", "before", "macro_after"):
            table[column(name, p)] = rows[name].to_numpy()
            table[column(f"{name}_sd", p)] = rows[f"{name}_sd"].to_numpy()
        for name in ("n", "diverged"):
            table[column(name, p)] = rows[name].fillna(0).astype(int).to_numpy()
        if paper is not None:
            published = [paper.get(p, {}).get(label, np.nan) for label in labels]
            table[column("paper", p)] = published
            table[column("difference", p)] = rows["after"].to_numpy() - published
    return table


def gains(accuracies: Accuracies) -> dict[tuple[str, float], Value]:
    """FedMeta's accuracy less FedAvg's, in points, by (label, support fraction).

    Args:
        accuracies: After adaptation, in percent; what is missing gives no gain.
    """
    return {
        (label, p): row[label] - row[BASELINE]
        for p, row in accuracies.items()
        if BASELINE in row
        for label in FEDMETA
        if label in row
    }


def accuracies(runs: pd.DataFrame) -> Accuracies:
    """Accuracies after adaptation of every cell, by seed, in the form of the paper's.

    Args:
        runs: A row an algorithm, support fraction and seed.
    """
    found: dict[float, dict[str, Value]] = {}
    groups = runs.groupby(["algorithm", "support_fraction"], sort=False)
    for (algorithm, p), cell in groups:
        lost = int((cell["diverged"] != "").sum())
        values = pd.Series(
            [100 * m.get(MEASURES["after"], np.nan) for m in cell["metrics"]],
            index=cell["seed"].to_numpy(),
            dtype=float,
        )
        value = Value(values, diverged_words(lost, len(cell)) if lost else "")
        if lost or not value.missing:
            found.setdefault(float(p), {})[label_of(algorithm)] = value
    return found


def published(paper: Paper) -> Accuracies:
    """The paper's accuracies, as values of one run."""
    return {p: {k: known(x) for k, x in row.items()} for p, row in paper.items()}


def diverged_words(diverged: int, seeds: int) -> str:
    """ "1 of 3 seeds diverged"."""
    return f"{diverged} of {seeds} seeds diverged" if seeds > 1 else "diverged"


def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Scores of all seeds; of none where one has diverged, and its mark."""
    marked = [frame for frame in frames if divergence(frame)]
    if not marked:
        return pd.concat(frames, ignore_index=True)
    table = pd.concat(frames, ignore_index=True).iloc[:0]
    table.attrs = marked[0].attrs
    return table


def paper_gains() -> list[float]:
    """The gains of the paper's Table 2: its abstract states the least and the most."""
    return [
        float(gain)
        for b in BENCHMARKS.values()
        for gain in gains(published(b.table2)).values()
    ]


def gains_table(
    found: Accuracies, fractions: Sequence[float], paper: Paper | None, source: str
) -> pd.DataFrame:
    """FedMeta over FedAvg: ``algorithm, source, gain_20, paper_20``, and so on."""
    ours, theirs = (
        {key: float(gain) for key, gain in gains(of).items()}
        for of in (found, published(paper or {}))
    )
    table = pd.DataFrame({"algorithm": FEDMETA, "source": source})
    for p in fractions:
        table[column("gain", p)] = [ours.get((name, p), np.nan) for name in FEDMETA]
        if paper is not None:
            table[column("paper", p)] = [
                theirs.get((name, p), np.nan) for name in FEDMETA
            ]
    return table


def mean_history(histories: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Every column's mean over seeds, at the rounds that all seeds were evaluated at.

    It is missing where it is of one seed. Marked where a training diverged.

    Args:
        histories: A row an evaluated round; at least one.
    """
    rounds = pd.concat(histories).groupby("round")
    means = rounds.mean(skipna=False)[rounds.size() == len(histories)].reset_index()
    marks = [history.attrs for history in histories if divergence(history)]
    means.attrs = marks[0] if marks else {}
    return means
