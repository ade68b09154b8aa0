"""How evenly accuracy is spread over the test clients."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fedmeta.reporting.divergence import training_cell
from fedmeta.reporting.tables import BASELINE

GRID = np.linspace(0.0, 1.0, 401)


def client_accuracies(scores: pd.DataFrame, min_query: int = 1) -> pd.DataFrame:
    """Accuracy before and after adaptation of every client, fractions by client id.

    Clients with fewer than ``min_query`` query records are left out.
    """
    kept = scores[scores["num_query"] >= max(min_query, 1)].set_index("client_id")
    return pd.DataFrame(
        {
            "before": kept["accuracy_sum_before"] / kept["num_query"],
            "after": kept["accuracy_sum_after"] / kept["num_query"],
        }
    )


def fairness_table(
    scores: Mapping[str, pd.DataFrame],
    source: str,
    min_query: int = 1,
    baseline: str = BASELINE,
) -> pd.DataFrame:
    """Spread of the clients' accuracies after adaptation, a row an algorithm.

    Args:
        scores: An algorithm's label -> a row a test client.
        source: What the data are; repeated in every row.
        min_query: Clients with fewer query records are left out.
        baseline: The algorithm, as it is before adaptation, that
            ``worse_than_baseline`` compares with, client by client.

    Returns:
        Accuracies and shares of clients in percent, the variance in squared points;
        Jain, Gini and cosine in [0, 1]; entropy and KL divergence in nats.
    """
    accuracies = {k: client_accuracies(v, min_query) for k, v in scores.items()}
    before_any = accuracies.get(baseline, pd.DataFrame({"before": []}))["before"]
    rows = []
    for label, table in accuracies.items():
        after, change = table["after"], table["after"] - table["before"]
        against = (after - before_any).dropna()  # by client id
        rows.append(
            {
                "algorithm": label,
                "source": source,
                "clients": len(after),
                **_spread(after.to_numpy(dtype=float)),
                "share_perfect": _share(after == 1),
                "share_better": _share(change > 0),
                "share_unchanged": _share(change == 0),
                "share_worse": _share(change < 0),
                "share_worse_than_baseline": _share(against < 0),
                **training_cell({"": scores[label]}),
            }
        )
    return pd.DataFrame(rows)


def jain(values: np.ndarray) -> float:
    """Jain's index (Σa)² / (N Σa²): 1 when all are equal, 1/N when one has all."""
    squares = float(np.sum(values**2))
    # all zero is all equal
    return float(np.sum(values)) ** 2 / (len(values) * squares) if squares else 1.0


def gini(values: np.ndarray) -> float:
    """Gini coefficient: 0 when all are equal, 1 - 1/N when one has all."""
    total, n = float(np.sum(values)), len(values)
    if not total:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float(2 * np.sum(ranks * np.sort(values)) / (n * total) - (n + 1) / n)


def entropy(values: np.ndarray) -> float:
    """Entropy of a/Σa in nats: log N when all are equal, 0 when one has all."""
    total = float(np.sum(values))
    if not total:
        return float(np.log(len(values)))
    share = values[values > 0] / total
    return float(-np.sum(share * np.log(share)))


def density(accuracies: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray | None:
    """Gaussian kernel density with Scott's bandwidth, [len(grid)].

    None where there is none: fewer than two clients, or all of them equal.
    """
    if len(accuracies) < 2 or np.ptp(accuracies) < 1e-9:
        return None
    bandwidth = np.std(accuracies, ddof=1) * len(accuracies) ** (-1 / 5)
    distance = (grid[:, None] - accuracies[None, :]) / bandwidth  # [grid, clients]
    kernels = np.exp(-0.5 * distance**2) / (bandwidth * np.sqrt(2 * np.pi))
    return kernels.mean(axis=1)


def _spread(after: np.ndarray) -> dict[str, float]:
    names = ["mean", "variance", "sd", "minimum", "p5", "p10", "p25", "p50"]
    names += ["worst_tenth", "best_tenth", "jain", "gini", "entropy", "kl_to_uniform"]
    names += ["cosine_to_equal"]
    if not len(after):
        return dict.fromkeys(names, np.nan)
    percent, n = np.sort(100 * after), len(after)
    tenth = int(np.ceil(n / 10))
    values = [
        percent.mean(),
        percent.var(),
        percent.std(),
        percent[0],
        *np.percentile(percent, [5, 10, 25, 50]),
        percent[:tenth].mean(),
        percent[-tenth:].mean(),
        jain(after),
        gini(after),
        entropy(after),
        max(0.0, float(np.log(n)) - entropy(after)),
        jain(after) ** 0.5,  # cosine(a, 1) = Σa / (√N ‖a‖), the root of Jain's index
    ]
    return dict(zip(names, values, strict=True))


def _share(true: pd.Series) -> float:
    return 100 * float(true.mean()) if len(true) else np.nan
