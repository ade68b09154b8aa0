"""Phrases that several studies share: the figures of a claim and its verdict."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from fedmeta.reporting import measures as m
from fedmeta.reporting.measures import Value
from fedmeta.reporting.results import Results
from fedmeta.reporting.verdicts import (
    NOT_MEASURED,
    Claim,
    Verdict,
    every,
    greater,
    interval,
)
from fedmeta.reporting.wording import MISSING, flops_text

T = TypeVar("T")
Found = tuple[str, Verdict]  # figures, and what they decide


def counted(count: int, what: str) -> str:
    """ "1 epoch", "5 epochs"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def best(values: Mapping[str, Value], own: str) -> Found:
    """Whether one of several is greater than each of the others that were measured."""
    others = {k: v for k, v in values.items() if k != own}
    if lost := {k: v for k, v in values.items() if v.diverged}:
        figures = "; ".join(f"{k} {v}" for k, v in lost.items())
        return figures, every(greater(v, 0) for v in lost.values())
    measured = {k: v for k, v in others.items() if not v.missing}
    if not measured:
        return "", Verdict(NOT_MEASURED)
    other = max(measured, key=lambda k: float(measured[k]))
    figures = f"{own} {values[own]}, the best other is {other} {values[other]}"
    return figures, every(greater(values[own], v) for v in measured.values())


def beats(both: Mapping[str, Results], **stage: Any) -> Found:
    """Whether the first of two is more accurate than the second, by label."""
    right = {label: m.accuracy(found, **stage) for label, found in both.items()}
    figures = ", ".join(f"{label} {value}" for label, value in right.items())
    one, other = right.values()
    points, error = m.over_the_same(*both.values(), **stage)
    if len(one.by_seed) > 1:
        low, high = interval(one - other)
        figures += f"; difference {one - other:+.2f} points" + (
            f", 95 % interval {low:+.2f} to {high:+.2f}" if np.isfinite(low) else ""
        )
    elif not np.isnan(points + error):
        figures += (
            f"; difference {points:+.2f} ± {error:.2f} points over the same users"
        )
    return figures, greater(one, other)


def sooner(both: Mapping[str, Results]) -> Found:
    """Whether the first reaches the second's final accuracy in fewer rounds."""
    one, other = both.values()
    target = m.at_end(other, m.AFTER)
    if words := _lost(both):
        return words, greater(target, Value(target.by_seed, one.diverged))
    if min(len(m.over_seeds(r, m.AFTER)) for r in both.values()) < 2:
        return MISSING, Verdict(NOT_MEASURED)

    def at(found: Results) -> tuple[Value, str]:
        rounds, flops = (
            # of a seed that has no target nothing is said
            Value(
                m.reaching(found, target, column).by_seed.filter(target.by_seed.index)
            )
            for column in ("round", "flops")
        )
        spent = "" if flops.missing else f" after {flops_text(float(flops))}"
        never = Value(rounds.by_seed.fillna(np.inf))
        text = "never" if np.isinf(float(never)) else f"round {rounds:.0f}{spent}"
        return never, text

    (own, first), (others, second) = at(one), at(other)
    names = list(both)
    figures = f"{target * 100} %: {names[0]} {first}, {names[1]} first at {second}"
    return figures, greater(others, own)


def falls_more(found: Mapping[str, Results], column: str, baseline: str) -> Found:
    """Whether a curve falls by the least part under the baseline, by label."""

    def left(values: pd.Series) -> float:
        return values.iloc[-1] / values.iloc[0] if len(values) > 1 else np.nan

    texts, parts = [], {}
    for label, results in found.items():
        part = m.of_curve(results, column, left)
        if part.diverged:
            texts.append(f"{label} {part}")
        elif not part.missing:
            mean = m.over_seeds(results, column)["mean"]
            ends = f"{mean.iloc[0]:#.3g} → {mean.iloc[-1]:#.3g}"
            texts.append(f"{label}: {ends} (× {part:.2f})")
        else:
            continue
        parts[label] = part
    own = parts.pop(baseline, m.known(np.nan))
    return "; ".join(texts) or MISSING, every(greater(own, v) for v in parts.values())


def better_at_equal_initial(both: Mapping[str, Results]) -> Found:
    """Whether the first of two personalises better at the same initial accuracy."""
    initial, own, other = at_equal_initial(*both.values())
    one, second = both
    figures = f"at {initial} initial: {one} {own}, {second} {other}"
    if initial.missing:
        figures = _lost(both) or MISSING
    return figures, greater(own, other)


def _lost(both: Mapping[str, Results]) -> str:
    """ "ν = 5 diverged at round 12.", of each that did."""
    return " ".join(f"{k} {r.diverged}." for k, r in both.items() if r.diverged)


def at_equal_initial(one: Results, other: Results) -> tuple[Value, Value, Value]:
    """Two trainings' personalised accuracies at the same initial accuracy.

    That is the highest initial accuracy that both reach. Each personalised accuracy is
    interpolated between the two evaluated rounds between which the training first
    reaches it.

    Returns:
        The initial accuracy and the two personalised ones, percent; all nan if a
        training has never been more accurate than when it began.
    """
    words = one.diverged or other.diverged
    found = {}
    for seed in one.cells["seed"].unique() if not words else ():
        pairs = [
            m.initial_and_personalised(r.where(seed=seed).histories)
            for r in (one, other)
        ]
        found[seed] = [100 * x for x in _meeting(*pairs)]
    values = pd.DataFrame.from_dict(found, orient="index", columns=range(3))
    first, second, third = (Value(values[i].astype(float), words) for i in range(3))
    return first, second, third


def _meeting(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float, float]:
    if min(len(one), len(other)) < 2:
        return np.nan, np.nan, np.nan
    initial = min(float(pairs[m.BEFORE].max()) for pairs in (one, other))
    reached = [_when_reaching(pairs, initial) for pairs in (one, other)]
    if np.isnan(reached).any():
        return np.nan, np.nan, np.nan
    return initial, reached[0], reached[1]


def _when_reaching(pairs: pd.DataFrame, initial: float) -> float:
    """Personalised accuracy where the initial one first rises to ``initial``."""
    before, after = pairs[m.BEFORE].to_numpy(), pairs[m.AFTER].to_numpy()
    place = int(np.argmax(before >= initial))
    if place == 0:  # training has not raised it
        return np.nan
    low, high = before[place - 1], before[place]
    share = (initial - low) / (high - low)
    return float(after[place - 1] + share * (after[place] - after[place - 1]))


def ahead(own: Value, base: Mapping[str, Value], paper: float) -> Found:
    """Whether a value is above another, by its label; beside the paper's lead."""
    ((label, other),) = base.items()
    figures = f"{own}, {label} {other}"
    if not (own.diverged or other.diverged):
        figures = MISSING if (own - other).missing else f"{figures}: {own - other:+.2f}"
        figures += " points" * (figures != MISSING)
        figures += f" (paper {paper:+.2f})" * (not np.isnan(paper))
    return figures, greater(own, other)


def raised(claim: str, pairs: Mapping[str, Sequence[Value]]) -> Claim:
    """Whether the second of every pair is above the first."""
    figures = "; ".join(f"{k}: {low} → {high}" for k, (low, high) in pairs.items())
    held = every(greater(high, low) for low, high in pairs.values())
    return Claim(claim, figures or MISSING, held)


def all_of(found: Mapping[str, Found]) -> Found:
    """Whether all hold: their figures, each behind its name."""
    figures = "; ".join(f"{name}: {text}" for name, (text, _) in found.items() if text)
    return figures or MISSING, every(verdict for _, verdict in found.values())


def greatest(values: Mapping[T, Value]) -> T | None:
    """The label of the greatest; None where nothing was measured."""
    measured = {k: float(v) for k, v in values.items() if not v.missing}
    return max(measured, key=measured.__getitem__) if measured else None
