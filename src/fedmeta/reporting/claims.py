"""What a paper says, and whether it holds here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fedmeta.reporting.wording import MISSING


class Claim(NamedTuple):
    """A claim of a paper and what became of it here.

    Attributes:
        claim: In words.
        figures: The numbers that decide it; a page breaks the line after "; ".
        held: None where a figure is missing: not measured.
    """

    claim: str
    figures: str
    held: bool | None


VERDICTS = {True: "held", False: "not held", None: "not measured"}


def claims_frame(claims: Sequence[Claim]) -> pd.DataFrame:
    """A row a claim: `claim`, `verdict`, `figures`."""
    rows = [(c.claim, VERDICTS[c.held], c.figures) for c in claims]
    return pd.DataFrame(rows, columns=["claim", "verdict", "figures"])


def more(one: float, other: float) -> bool | None:
    """Whether ``one`` is greater; None where either is missing."""
    return None if np.isnan(one - other) else bool(one > other)


def every(held: Sequence[bool | None]) -> bool | None:
    """False if any is; else None if any is unknown, or if there is none."""
    if False in held:
        return False
    return None if None in held or not held else True


def number(value: float) -> str:
    """Two decimals, or a dash where it is missing."""
    return MISSING if np.isnan(value) else f"{value:.2f}"
