"""How evenly accuracy is spread over the test clients."""

import numpy as np
import pandas as pd
from matplotlib.mlab import GaussianKDE
from scipy.special import entr

from fedmeta.reporting.results import Results

GRID = np.linspace(0.0, 1.0, 401)


def client_accuracies(results: Results) -> pd.DataFrame:
    """Accuracy before and after adaptation of every client, fractions.

    By seed and client id; clients without query records are left out.
    """
    found = {}
    for stage in ("before", "after"):
        rows = results.at(stage).set_index(["seed", "client_id"])
        found[stage] = rows["accuracy_sum"] / rows["num_query"]
    return pd.DataFrame(found, dtype=float)


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
    return float(entr(values / total).sum())


def density(accuracies: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray | None:
    """Gaussian kernel density with Scott's bandwidth, [len(grid)].

    None where there is none: fewer than two clients, or all of them equal.
    """
    if len(accuracies) < 2 or np.ptp(accuracies) < 1e-9:
        return None
    return GaussianKDE(accuracies, "scott")(grid)


def spread(after: np.ndarray) -> dict[str, float]:
    """Statistics of accuracies, [clients] fractions: in percent, indices in [0, 1]."""
    percent, n = pd.Series(100 * np.sort(after)), len(after)
    tenth = int(np.ceil(n / 10))
    indices = {f.__name__: f(after) if n else np.nan for f in (jain, gini, entropy)}
    return {
        "mean": percent.mean(),
        "variance": percent.var(ddof=0),
        "sd": percent.std(ddof=0),
        "minimum": percent.min(),
        **{f"p{q}": percent.quantile(q / 100) for q in (5, 10, 25, 50)},
        "worst_tenth": percent.iloc[:tenth].mean(),
        "best_tenth": percent.iloc[n - tenth :].mean(),
        **indices,
        "kl_to_uniform": max(0.0, np.log(n) - indices["entropy"]) if n else np.nan,
        # cosine(a, 1) = Σa / (√N ‖a‖), the root of Jain's index
        "cosine_to_equal": indices["jain"] ** 0.5,
    }
