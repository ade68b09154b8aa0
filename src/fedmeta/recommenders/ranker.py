"""What estimators that score every service have in common."""

from abc import abstractmethod
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags


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
        tags.classifier_tags.poor_score = True  # features tell it little
        return tags
