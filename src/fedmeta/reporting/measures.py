"""Measures: what results say in single numbers, one for each seed.

A measure takes the results of one cell, or of cells that differ in the seed alone, and
returns a `Value`. Whatever was not measured is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedmeta.reporting.results import Results
from fedmeta.reporting.wording import MISSING

BEFORE, AFTER = "validation_accuracy_before", "validation_accuracy_after"


class Value(NamedTuple):
    """A measured number."""

    by_seed: pd.Series  # nan where it was not measured
    diverged: str = ""  # says so, where a training diverged: there is no number then
    # of a difference, that of the means, where not all seeds have a pair
    apart: float | None = None

    def __float__(self) -> float:
        """The mean over seeds; nan if that of one is."""
        if self.apart is not None:
            return self.apart
        return float(self.by_seed.mean(skipna=False)) if len(self.by_seed) else np.nan

    @property
    def missing(self) -> bool:
        """Whether there is no number."""
        return bool(np.isnan(float(self)))

    def __format__(self, form: str) -> str:
        text = MISSING if self.missing else format(float(self), form or ".2f")
        return self.diverged or text

    def __str__(self) -> str:
        return format(self, "")

    def __sub__(self, other: Value | float) -> Value:
        """Seed by seed, over those that both have."""
        if not isinstance(other, Value):
            apart = None if self.apart is None else self.apart - other
            return self._replace(by_seed=self.by_seed - other, apart=apart)
        one, second = self.by_seed.align(other.by_seed, join="inner")
        words = self.diverged or other.diverged
        return Value(one - second, words, float(self) - float(other))

    def __mul__(self, by: float) -> Value:  # type: ignore[override]  # no repetition
        apart = None if self.apart is None else self.apart * by
        return Value(self.by_seed * by, self.diverged, apart)


def measure(compute: Callable[..., float]) -> Callable[..., Value]:
    """A measure from what computes it for one seed."""

    @wraps(compute)
    def by_seed(results: Results, *args: Any, **options: Any) -> Value:
        if results.diverged:
            return Value(pd.Series(dtype=float), results.diverged)
        found = {
            seed: compute(results.where(seed=seed), *args, **options)
            for seed in results.cells["seed"].unique()
        }
        return Value(pd.Series(found, dtype=float))

    return by_seed


@measure
def share(run: Results, sums: str, **stage: Any) -> float:
    """Of all query records at a stage those that a column counts, in percent.

    Args:
        stage: of `Results.at`: `stage="after"`, or a number of epochs or steps.
    """
    rows = run.at(**stage)
    if rows.empty:
        return np.nan
    return 100 * ratio(rows[sums].sum(), rows["num_query"].sum())


def accuracy(results: Results, **stage: Any) -> Value:
    """Share of all query records classified correctly at a stage, in percent."""
    return share(results, "accuracy_sum", **stage)


@measure
def mean(run: Results, metric: str, stage: str, *, macro: bool = False) -> float:
    """A metric's mean over query records at a stage, or over clients, each alike."""
    rows = run.at(stage)
    return means(rows, f"{metric}_sum", metric)[f"{'macro_' * macro}{metric}"]


@measure
def standard_error(run: Results, **stage: Any) -> float:
    """Standard error over clients of `accuracy`, in points.

    Linearised for a ratio of sums; with equally many query records a client it is the
    standard deviation of the clients' accuracies over the root of their number.
    """
    rows = run.at(**stage)
    if rows.empty:
        return np.nan
    return _spread_of_ratio(rows["accuracy_sum"], rows["num_query"])


def over_the_same(one: Results, other: Results, **stage: Any) -> tuple[float, float]:
    """By how many points `one` is above `other`, and the standard error of that.

    Over the clients that both were tested on, a seed: what makes a client hard for both
    has no part in the error.
    """
    keys = ["seed", "client_id"]
    first, second = (r.at(**stage).set_index(keys) for r in (one, other))
    if one.diverged or other.diverged or first.empty or second.empty:
        return np.nan, np.nan
    apart = (first["accuracy_sum"] - second["accuracy_sum"]).dropna()
    records = first["num_query"].loc[apart.index]
    return 100 * ratio(apart.sum(), records.sum()), _spread_of_ratio(apart, records)


@measure
def at_end(run: Results, column: str) -> float:
    """A column of the history at the last round that it was measured at."""
    values = curve(run.histories, column)
    return float(values.iloc[-1]) if len(values) else np.nan


@measure
def rounds(run: Results) -> float:
    """The last evaluated round."""
    return float(run.histories["round"].max())


@measure
def of_curve(
    run: Results, column: str, number: Callable[[pd.Series], float], last: float = 1
) -> float:
    """A number of a column of the history by round, such as `pd.Series.max`.

    Args:
        last: only this share of the evaluated rounds, those at the end.
    """
    values = curve(run.histories, column)
    return float(number(values.tail(int(np.ceil(len(values) * last)))))


@measure
def reaching(run: Results, target: Value | float, *columns: str) -> float:
    """What a column was when validation accuracy first reached a target, a fraction.

    The sum of several; without any, the round.
    """
    if isinstance(target, Value):
        (seed,) = run.cells["seed"].unique()
        target = np.nan if target.diverged else target.by_seed.get(seed, np.nan)
    row = first_reaching(run.histories, target)
    if row is None:
        return np.nan
    return sum(float(row.get(c, np.nan)) for c in columns or ("round",))


def initial_and_personalised(history: pd.DataFrame) -> pd.DataFrame:
    """Validation accuracies before and after personalisation, in order of rounds."""
    both = {name: curve(history, name) for name in (BEFORE, AFTER)}
    return pd.DataFrame(both).dropna()


def curve(history: pd.DataFrame, column: str) -> pd.Series:
    """A column of one training's history by round, from its first finite value on.

    What is not finite later is nan: a curve has a gap there.
    """
    if column not in history:
        return pd.Series(dtype=float)
    values = history.set_index("round")[column].astype(float).sort_index()
    values = values.where(np.isfinite(values))
    first = values.first_valid_index()
    return values.iloc[:0] if first is None else values.loc[first:]


def over_seeds(results: Results, column: str) -> pd.DataFrame:
    """A column's mean over seeds, and sample standard deviation, by round.

    Only rounds that all were evaluated at; `sd` is nan for a single seed.
    """
    groups = results.histories.groupby("seed", dropna=False)
    curves = [curve(rows, column) for _, rows in groups]
    joined = pd.concat(curves, axis=1, join="inner") if curves else pd.DataFrame()
    mean, sd = (f(axis=1, skipna=False) for f in (joined.mean, joined.std))
    return pd.DataFrame({"mean": mean, "sd": sd}).astype(float)


def mean_history(results: Results) -> pd.DataFrame:
    """Every column's mean over seeds, at the rounds that all were evaluated at.

    It is missing where it is of one seed; no row where a training diverged.
    """
    if results.diverged or results.histories.empty:
        return results.histories.iloc[:0]
    groups = results.histories.groupby("round")
    means = groups.mean(numeric_only=True, skipna=False)
    seeds = results.histories["seed"].nunique(dropna=False)
    return means[groups.size() == seeds].reset_index()


def first_reaching(history: pd.DataFrame, target: float) -> pd.Series | None:
    """The first row whose accuracy after adaptation is at least the target, if any."""
    reached = history[history[AFTER] >= target] if AFTER in history else history[:0]
    return None if reached.empty else reached.loc[reached["round"].idxmin()]


def means(scores: pd.DataFrame, sums: str, metric: str) -> dict[str, float]:
    """A metric's mean over query records, under its name, and over clients: "macro".

    Args:
        scores: a row a client.
        sums: the column with the metric's sums over a client's query records.
    """
    measured = scores[scores["num_query"] > 0]  # no accuracy without a query record
    values, queries = measured[sums], measured["num_query"]
    return {
        metric: ratio(values.sum(skipna=False), queries.sum()),
        f"macro_{metric}": float((values / queries).mean(skipna=False)),
    }


def by_epochs(results: Results) -> pd.Series:
    """Mean accuracy over seeds by number of epochs, in percent."""
    found = {n: float(accuracy(results, epochs=n)) for n in results.counts()}
    return pd.Series(found, dtype=float).dropna()


def known(value: float) -> Value:
    """A number of one run."""
    return Value(pd.Series([float(value)]))


def tabulate(
    results: Results,
    by: Sequence[str],
    measures: Callable[[Results], dict[str, Any]],
) -> pd.DataFrame:
    """A row a combination of factors, a column a measure: its mean over seeds.

    Args:
        measures: results of the cells of a row -> values by name. What is no `Value`
            stands in the table as it is.

    Returns:
        The factors, `source`, the measures; with several seeds also `<name>_sd`, sample
        standard deviations. Where a training diverged, `training` says so.
    """
    rows = []
    for key, found in results.by(*by).items():
        values = measures(found)
        row = dict(zip(by, key if len(by) > 1 else [key], strict=True))
        row["source"] = results.source
        for name, value in values.items():
            row[name] = float(value) if isinstance(value, Value) else value
            if results.seeds > 1 and isinstance(value, Value):
                row[f"{name}_sd"] = value.by_seed.std(ddof=1, skipna=False)
        if found.lost:
            row["training"] = found.lost
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else [*by, "source"])


def whole(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Counts, or their means over seeds, as integers that may be missing.

    A CSV reads 60, not 60.0.
    """
    there = [name for name in columns if name in table]
    rounded = table[there].astype(float).round()
    return table.assign(**{name: rounded[name].astype("Int64") for name in there})


def _spread_of_ratio(sums: pd.Series, counts: pd.Series) -> float:
    """Standard error of Σsums / Σcounts over clients, times 100."""
    clients, total = len(sums), counts.sum()
    if clients < 2:
        return np.nan
    residuals = sums - counts * (sums.sum() / total)
    variance = clients / (clients - 1) * float((residuals**2).sum())
    return 100 * variance**0.5 / float(total)


def ratio(numerator: float, denominator: float) -> float:
    """The ratio; nan where nothing is divided by."""
    return float(numerator) / float(denominator) if denominator else np.nan
