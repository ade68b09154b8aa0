"""Estimators that rank services: those used most often (MFU), those used last (MRU)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data


class Ranker(ClassifierMixin, BaseEstimator):
    """Predicts the best of the services that ``predict_proba`` scores."""

    classes_: np.ndarray  # [c] services, sorted

    @abstractmethod
    def predict_proba(self, X: Any) -> np.ndarray:
        """[n, c] probabilities of ``classes_``."""

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """[n, c] their logarithms; -inf for a service that is not recommended."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """[n] the likeliest services."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # features are no measurements
        return tags


class MostFrequentlyUsed(Ranker):
    """Ranks services by how often they were used, equal ones by how recently.

    Records come in chronological order; their features count for nothing.

    Attributes:
        classes_: [c] services, sorted.
        counts_: [c] records of each.
        last_use_: [c] number of the last of these, counted over all; -1: none.
        num_records_: records seen.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Count the services ``y`` [n] of records ``X`` [n, features]."""
        if hasattr(self, "classes_"):
            del self.classes_
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Sequence[Any] | None = None) -> Self:
        """Count later records as well; a service need not be known beforehand."""
        first = not hasattr(self, "classes_")
        X, y = validate_data(self, X, y, reset=first)
        check_classification_targets(y)
        if first:
            self.classes_ = np.empty(0, dtype=y.dtype)
            self.counts_ = self.last_use_ = np.empty(0, dtype=np.int64)
            self.num_records_ = 0
        expected = y[:0] if classes is None else np.asarray(classes)
        known = np.unique(np.concatenate([self.classes_, y, expected]))
        before, used = np.searchsorted(known, self.classes_), np.searchsorted(known, y)
        counts = np.bincount(used, minlength=len(known))
        counts[before] += self.counts_
        last_use = np.full(len(known), -1)
        last_use[before] = self.last_use_
        np.maximum.at(last_use, used, self.num_records_ + np.arange(len(y)))
        self.classes_, self.counts_, self.last_use_ = known, counts, last_use
        self.num_records_ += len(y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """[n, c] shares in all records, which ties move by less than one record."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        recency = (self.last_use_ + 1) / (self.num_records_ + 1)  # below 1
        weights = np.where(self.counts_, self.counts_ + recency, 0.0)
        return np.tile(weights / weights.sum(), (len(X), 1))


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
