"""MRU: the services used last, the latest first."""

from typing import Any, Self

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fedmeta.recommenders.ranker import Ranker


class MostRecentlyUsed(Ranker):
    """Ranks services by how recently they were used.

    A record's features are the services used before it: the last one, the last other
    one, and so on, filled up with -1. They say all; there is nothing to train.

    Args:
        slots: services are 0 ... slots - 1, and those of other numbers have none; None:
            those of the training data.

    Attributes:
        classes_: [c] services, sorted.
    """

    def __init__(self, slots: int | None = None) -> None:
        self.slots = slots

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from ``y`` [n] which services there are. ``X`` is [n, k]."""
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_ = np.unique(y) if self.slots is None else np.arange(self.slots)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """[n, c] that fall from column to column of ``X``; 0 where not in a row.

        In a row without a service of ``classes_`` all are equal.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        k = X.shape[1]
        is_class = X[:, :, None] == self.classes_  # [n, k, c]
        weights = np.einsum("nkc,k->nc", is_class, np.arange(k, 0, -1.0))
        weights[~weights.any(axis=1)] = 1
        return weights / weights.sum(axis=1, keepdims=True)
