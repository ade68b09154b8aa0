"""LR and NN: what is trained step by step on the records of one user."""

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from fedmeta.models.tabular import tabular
from fedmeta.recommenders.ranker import Ranker
from fedmeta.recommenders.together import train_together


class SoftmaxClassifier(Ranker):
    """Logistic regression, or a network of one hidden layer, trained by Adam.

    `fedmeta.recommenders.together.train_together` for one user.

    Args:
        hidden: units of the hidden layer; None: logistic regression.
        slots: classes are 0 ... slots - 1 and the model has an output for each, while
            records of class -1 teach nothing; None: the classes of the training data.
        steps: of training.
        learning_rate: of Adam.
        batch_size: records of a batch at most; half of all where these are fewer.
        random_state: of the initial parameters and the batches.

    Attributes:
        classes_: [c] classes, sorted.
        params_: of `fedmeta.models.tabular.tabular`.
    """

    def __init__(
        self,
        hidden: int | None = None,
        *,
        slots: int | None = None,
        steps: int = 10_000,
        learning_rate: float = 1e-3,
        batch_size: int = 500,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.hidden = hidden
        self.slots = slots
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Train anew on records ``X`` [n, features] of classes ``y`` [n].

        Raises:
            ValueError: if a class is not among the ``slots``.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        if self.slots is None:
            self.classes_, y = np.unique(y, return_inverse=True)
        else:
            self.classes_ = np.arange(self.slots)
            beyond = np.setdiff1d(y, [-1, *self.classes_])
            if len(beyond):
                raise ValueError(
                    f"classes must be 0 ... {self.slots - 1}, or -1 for none, but there"
                    f" is {beyond[0]}; give more slots"
                )
        ((_, _, self.params_),) = train_together(
            {"": (torch.from_numpy(X), torch.from_numpy(y.astype(np.int64)))},
            classes=len(self.classes_),
            hidden=self.hidden,
            steps=[self.steps],
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=check_random_state(self.random_state).randint(2**31),
        )
        return self

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """[n, c] log-softmax."""
        return self._logits(X).log_softmax(dim=1).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """[n, c] softmax."""
        return self._logits(X).softmax(dim=1).numpy()

    def _logits(self, X: Any) -> Tensor:
        check_is_fitted(self)
        X = torch.from_numpy(validate_data(self, X, reset=False, dtype=np.float64))
        model = tabular(X.shape[1], len(self.classes_), self.hidden)
        # In float64, a record's result does not depend on which others are asked for.
        return model.apply({name: p.double() for name, p in self.params_.items()}, X)
