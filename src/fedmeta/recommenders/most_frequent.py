"""MFU: the services used most often, in the same order whatever is asked."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fedmeta.recommenders.ranker import Ranker


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
