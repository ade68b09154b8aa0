"""What the studies' scores and histories say in single numbers.

Scores of a study are in long form, a row a test client and number of personalisation
epochs: ``client_id, epochs, num_support, num_query`` and the sums over query records
``accuracy_sum``, ``loss_sum`` and so on; 0 epochs are the shared model as it is.
Whatever was not measured is nan.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fedmeta.reporting.claims import number
from fedmeta.reporting.divergence import Diverged, divergence


def micro(scores: pd.DataFrame | None, epochs: int) -> float:
    """Share of all query records classified correctly after ``epochs``, in percent."""
    if words := divergence(scores):
        return Diverged(words)
    clients = _clients(scores, epochs)
    return 100 * _ratio(clients["accuracy_sum"].sum(), clients["num_query"].sum())


def standard_error(scores: pd.DataFrame | None, epochs: int) -> float:
    """Standard error of ``micro`` over clients, in points.

    Linearised for a ratio of sums; with equally many query records a client it is the
    standard deviation of the clients' accuracies over the root of their number.
    """
    clients = _clients(scores, epochs)
    return _spread_of_ratio(clients["accuracy_sum"], clients["num_query"])


def gain(
    one: pd.DataFrame | None, other: pd.DataFrame | None, epochs: int
) -> tuple[float, float]:
    """By how many points ``one`` is above ``other``, and the standard error of that.

    Over the clients that both were tested on: what makes a client hard for both has no
    part in the error.
    """
    first, second = _clients(one, epochs), _clients(other, epochs)
    apart = (first["accuracy_sum"] - second["accuracy_sum"]).dropna()  # by client id
    records = first["num_query"].loc[apart.index]
    return 100 * _ratio(apart.sum(), records.sum()), _spread_of_ratio(apart, records)


def compared(scores: Mapping[str, pd.DataFrame | None], epochs: int) -> str:
    """The accuracies of two variants, by label, and their difference, in words."""
    text = ", ".join(f"{k} {number(micro(v, epochs))}" for k, v in scores.items())
    points, error = gain(*scores.values(), epochs)
    if np.isnan(points + error):
        return text
    return f"{text}; difference {points:+.2f} ± {error:.2f} points over the same users"


def epochs_tested(scores: Mapping[object, pd.DataFrame]) -> list[int]:
    """The numbers of personalisation epochs that anything was tested at, rising."""
    return sorted({int(n) for table in scores.values() for n in table["epochs"]})


def curve(history: pd.DataFrame | None, column: str) -> pd.Series:
    """A column of a history by round, from its first finite value on.

    What is not finite later is nan: a curve has a gap there.
    """
    if history is None or column not in history:
        return pd.Series(dtype=float)
    values = history.set_index("round")[column].astype(float).sort_index()
    values = values.where(np.isfinite(values))
    first = values.first_valid_index()
    return values.iloc[:0] if first is None else values.loc[first:]


def last(history: pd.DataFrame | None, column: str) -> float:
    """The column's value at the last round that it was measured at."""
    if words := divergence(history):
        return Diverged(words)
    values = curve(history, column)
    return float(values.iloc[-1]) if len(values) else np.nan


def _clients(scores: pd.DataFrame | None, epochs: int) -> pd.DataFrame:
    """The clients that can be judged, by id."""
    columns = ["accuracy_sum", "num_query"]
    if scores is None:
        return pd.DataFrame(columns=columns, dtype=float)
    kept = scores[(scores["epochs"] == epochs) & (scores["num_query"] > 0)]
    return kept.set_index("client_id")[columns]


def _spread_of_ratio(sums: pd.Series, counts: pd.Series) -> float:
    """Standard error of Σsums / Σcounts over clients, times 100."""
    clients, total = len(sums), counts.sum()
    if clients < 2:
        return np.nan
    residuals = sums - counts * (sums.sum() / total)
    variance = clients / (clients - 1) * float((residuals**2).sum())
    return 100 * variance**0.5 / float(total)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator else np.nan
