"""What a paper says, and whether it holds here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedmeta.reporting.divergence import Diverged
from fedmeta.reporting.wording import MISSING

DIVERGED = "diverged"  # a verdict
Held = bool | str | None


class Claim(NamedTuple):
    """A claim of a paper and what became of it here.

    Attributes:
        claim: In words.
        figures: The numbers that decide it; a page breaks the line after "; ".
        held: None where a figure is missing: not measured. `DIVERGED` where it is
            missing since a training diverged.
    """

    claim: str
    figures: str
    held: Held


VERDICTS = {
    True: "held",
    False: "not held",
    None: "not measured",
    DIVERGED: "a training diverged",
}


def claims_frame(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row a claim: `claim`, `verdict`, `figures`."""
    rows = [(c.claim, VERDICTS[c.held], c.figures) for c in claims]
    return pd.DataFrame(rows, columns=["claim", "verdict", "figures"])


def more(one: float, other: float) -> Held:
    """Whether ``one`` is greater; None where either is missing, or `DIVERGED`.

    Equal ones beat each other nowhere: a tie decides against "more", "fewer" and "the
    best", and for "at least as".
    """
    if isinstance(one, Diverged) or isinstance(other, Diverged):
        return DIVERGED
    return None if np.isnan(one - other) else bool(one > other)


def opposite(held: Held) -> Held:
    """Of what is known."""
    return not held if isinstance(held, bool) else held


def every(held: Sequence[Held]) -> Held:
    """`DIVERGED` or False if any is; else None if any is unknown, or there is none."""
    if DIVERGED in held:
        return DIVERGED
    if False in held:
        return False
    return None if None in held or not held else True


def number(value: float) -> str:
    """Two decimals; a dash where it is missing, or words."""
    if isinstance(value, Diverged):
        return value.words
    return MISSING if np.isnan(value) else f"{value:.2f}"
