"""What reports say of a training that diverged: words where its numbers would stand.

Its history and scores are marked: ``attrs["diverged"]`` has the round. The history ends
at the last evaluated round before, and there are no scores.
"""

import numpy as np
import pandas as pd


def divergence(results: pd.DataFrame | None) -> str:
    """ "diverged at round 12", of marked results; else empty."""
    mark = None if results is None else results.attrs.get("diverged")
    return "" if mark is None else f"diverged at round {mark['round']:,}"


def nonfinite(scores: pd.DataFrame | None) -> str:
    """How many clients' models have no finite loss, in words; else empty.

    Args:
        scores: a row a client, and perhaps stage of adaptation, with ``loss_sum`` or
            ``loss_sum_after``; scores without a loss are of what cannot diverge.
    """
    if scores is None:
        return ""
    losses = scores.filter(["loss_sum", "loss_sum_after"])
    lost = ~np.isfinite(losses.astype(float)).all(axis=1)
    if not lost.any():
        return ""
    bad = scores.loc[lost, "client_id"]
    return (
        f"adaptation diverged in {len(bad):,} of {len(scores):,} cases, first on client"
        f" {bad.iloc[0]}: its loss is not finite, and records without a finite answer"
        " count as errors"
    )
