"""Top-k accuracy: whether the service that was used is among the k best scored."""

from collections.abc import Sequence

import numpy as np
import torch

from fedmeta.core.model import among_highest


def top_k_hits(scores: np.ndarray, y: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """[n, len(ks)] whether class ``y`` is among the k highest scores, for each k.

    Of equal scores the first counts as higher. A score of -inf means: not recommended,
    however few others there are. Class -1 is never hit. Nor is anything where a score
    is NaN or +inf: what diverged ranks nothing.

    Args:
        scores: [n, classes], the higher the better.
        y: [n] classes used.
        ks: numbers of services recommended.
    """
    scored, used = torch.from_numpy(scores), torch.from_numpy(y.astype(np.int64))
    listed = scores[np.arange(len(y)), y] > -np.inf  # y of -1 is settled below
    listed &= (scores < np.inf).all(axis=1)
    hits = [among_highest(scored, used, k).numpy() & listed for k in ks]
    return np.stack(hits, axis=1)


def by_slot(scores: np.ndarray, classes: np.ndarray, slots: int) -> np.ndarray:
    """[n, slots] the scores [n, c] of ``classes`` [c] in their places, -inf elsewhere.

    Of an estimator that scores only the classes it has seen.
    """
    placed = np.full((len(scores), slots), -np.inf)
    placed[:, classes] = scores
    return placed
