"""How far results would vary with other clients: the bootstrap (Efron 1979).

Clients are drawn with replacement, as many as there are, and every accuracy is computed
again. The same draws serve all algorithms, so that an interval depends on no order.
"""

import numpy as np
import pandas as pd

RESAMPLES, SEED = 2000, 0
ENDS = {"_low": 0.025, "_high": 0.975}  # ending of a column -> quantile


def draws(clients: int) -> np.ndarray:
    """[RESAMPLES, clients] how often each client is in each resample."""
    shares = np.full(clients, 1 / clients)
    return np.random.default_rng(SEED).multinomial(clients, shares, RESAMPLES)


def interval(scores: pd.DataFrame, *, macro: bool = False) -> dict[str, float]:
    """Ends of the 95 % interval of an accuracy over clients, fractions by `ENDS`.

    Missing where there are fewer than two clients.

    Args:
        scores: a row a client, of one stage: ``num_query, accuracy_sum``.
        macro: whether every client counts the same, and not every record.
    """
    sums, counts = (scores[n].to_numpy(float) for n in ("accuracy_sum", "num_query"))
    if macro:
        sums, counts = sums / counts, counts**0
    if len(counts) < 2:  # noqa: PLR2004
        return dict.fromkeys(ENDS, np.nan)
    drawn = draws(len(counts))
    means = (drawn @ sums) / (drawn @ counts)
    return {end: float(np.quantile(means, at)) for end, at in ENDS.items()}


def first_reaching(scores: pd.DataFrame, targets: np.ndarray) -> dict[str, np.ndarray]:
    """The evaluated round where accuracy after adaptation first reaches each target.

    Args:
        scores: a row a validation client and evaluation: ``round, client_id,
            num_query, accuracy_sum_after``.
        targets: [targets] fractions.

    Returns:
        [targets] rounds on all clients, under "", and by `ENDS` those of the 95 %
        interval; nan where never reached. All are nan where all clients, or more than
        half of the resamples, never reach it.
    """
    if scores.empty or not len(targets):
        return dict.fromkeys(("", *ENDS), np.full(len(targets), np.nan))
    sums, counts = (
        scores.pivot_table(side, "client_id", "round", "sum").fillna(0)
        for side in ("accuracy_sum_after", "num_query")
    )
    drawn = np.vstack([np.ones(len(sums)), draws(len(sums))])  # first all clients
    with np.errstate(invalid="ignore"):  # nan of clients that were not watched then
        accuracy = (drawn @ sums.to_numpy()) / (drawn @ counts.to_numpy())
    never = len(sums.columns)
    reached = (accuracy >= target for target in targets)
    places = [np.where(there.any(1), there.argmax(1), never) for there in reached]
    first = np.array(places).reshape(len(targets), len(drawn))
    found = {"": first[:, 0]}
    for end, at in ENDS.items():
        found[end] = np.quantile(
            first[:, 1:].astype(float), at, axis=1, method="inverted_cdf"
        ).astype(int)
    lost = (first[:, 0] == never) | ((first[:, 1:] == never).mean(1) > 0.5)  # noqa: PLR2004
    rounds = np.append(sums.columns.to_numpy(float), np.nan)
    return {end: np.where(lost, np.nan, rounds[at]) for end, at in found.items()}
