"""What a paper says, and whether it holds here: one rule for every claim.

A claim is held, or not held, where the differences of its two sides, paired by seed,
have a mean that is not zero by a t-test: their 95 % interval lies on one side of zero.
It is undecided where that interval contains zero, where there are fewer than three
seeds, and where the two sides are equal. Which side the means are on is its tendency;
where they are of further seeds, and on the other side, the claim is undecided too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from fedmeta.reporting.measures import Value

HELD, NOT_HELD, UNDECIDED = "held", "not held", "undecided"
NOT_MEASURED, DIVERGED = "not measured", "a training diverged"
FOR, AGAINST, TIE = "for", "against", "tie"  # tendencies; "" where not measured
ENOUGH_SEEDS, CONFIDENCE = 3, 0.95


class Verdict(NamedTuple):
    """What became of a claim."""

    verdict: str  # `HELD`, `NOT_HELD`, `UNDECIDED`, `NOT_MEASURED` or `DIVERGED`
    tendency: str = ""  # of the means over seeds, however few
    seeds: int = 0  # how many pairs there are


class Claim(NamedTuple):
    """A claim of a paper and what became of it here."""

    claim: str  # in words
    figures: str  # the numbers that decide it; a page breaks the line after "; "
    outcome: Verdict  # what they decide


def claims_frame(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row a claim: `claim`, `verdict`, `tendency`, `seeds`, `figures`."""
    rows = [(c.claim, *c.outcome, c.figures) for c in claims]
    return pd.DataFrame(
        rows, columns=["claim", "verdict", "tendency", "seeds", "figures"]
    )


def greater(one: Value, other: Value | float) -> Verdict:
    """Whether ``one`` is greater, by the differences of the same seeds."""
    apart = one - other
    low, high = interval(apart)
    mean = float(apart)
    tendency = FOR if mean > 0 else AGAINST if mean < 0 else TIE
    return _verdict(apart, low > 0, high < 0, tendency)


def close(one: Value, other: Value, within: float) -> Verdict:
    """Whether two are at most so far apart: their interval must be within, or beyond.

    Of equal ones nothing is asked but three seeds.
    """
    apart = one - other
    low, high = interval(apart)
    tendency = FOR if abs(float(apart)) <= within else AGAINST
    held = -within <= low and high <= within
    return _verdict(apart, held, low > within or high < -within, tendency)


def _verdict(apart: Value, held: bool, not_held: bool, tendency: str) -> Verdict:
    if apart.diverged:
        return Verdict(DIVERGED)
    if apart.missing:
        return Verdict(NOT_MEASURED)
    verdict = UNDECIDED
    if held and tendency == FOR:
        verdict = HELD
    elif not_held and tendency == AGAINST:
        verdict = NOT_HELD
    return Verdict(verdict, tendency, len(apart.by_seed))


def every(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict on all: that of the first kind that any has.

    In the order diverged, not held, not measured, undecided, held; but where figures
    are against it, what else was not measured does not matter. Without any it is not
    measured. Likewise the tendency.
    """
    found = list(verdicts) or [Verdict(NOT_MEASURED)]
    order = (DIVERGED, NOT_HELD, NOT_MEASURED, UNDECIDED, HELD)
    tendency = min((v.tendency for v in found), key=[AGAINST, TIE, "", FOR].index)
    kinds = {v.verdict for v in found}
    if tendency in (AGAINST, TIE):
        kinds.discard(NOT_MEASURED)
        found = [v for v in found if v.verdict != NOT_MEASURED]
    return Verdict(min(kinds, key=order.index), tendency, min(v.seeds for v in found))


def interval(value: Value) -> tuple[float, float]:
    """The 95 % t-interval of a mean over seeds; infinite for fewer than three."""
    seeds = value.by_seed
    if len(seeds) < ENOUGH_SEEDS or not np.isfinite(seeds).all():
        return -np.inf, np.inf
    error = seeds.std(ddof=1) / len(seeds) ** 0.5
    reach = stdtrit(len(seeds) - 1, (1 + CONFIDENCE) / 2) * error
    return float(seeds.mean() - reach), float(seeds.mean() + reach)
