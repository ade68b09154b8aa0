"""Verdicts of claims, as tests ask for them."""

from fedmeta.reporting.verdicts import AGAINST, DIVERGED, FOR, TIE


def side(claim):
    """Whether a claim's figures are for it; None where they say nothing."""
    if claim.outcome.verdict == DIVERGED:
        return DIVERGED
    return {FOR: True, AGAINST: False, TIE: False, "": None}[claim.outcome.tendency]
