"""MFU, MRU and NB on one user's own log (Chen et al. 2018, section 4.3).

Each scores the local services for every query record: [q, slots], -inf for a service
that is not recommended at all.
"""

from collections.abc import Callable

import numpy as np
from sklearn.naive_bayes import CategoricalNB

from fedmeta.benchmarks.recommendation.blocks import NOTHING
from fedmeta.benchmarks.recommendation.features import (
    block_codes,
    block_sizes,
    recent_services,
)
from fedmeta.data.encoding import Codebook
from fedmeta.pipelines.recommendation.users import TestUser
from fedmeta.recommenders.most_frequent import MostFrequentlyUsed
from fedmeta.recommenders.most_recent import MostRecentlyUsed
from fedmeta.recommenders.ranking import by_slot

LAST = 4  # services used last that MRU is told of: Top-4 is the widest list asked for

Scores = Callable[[TestUser, Codebook, int], np.ndarray]  # the last: number of slots


def most_frequent(user: TestUser, codebook: Codebook, slots: int) -> np.ndarray:
    """By how often they occur in the support."""
    taught = _taught(user)
    if not len(taught):
        return np.full((len(user.query), slots), -np.inf)
    labels = user.columns["label"]
    model = MostFrequentlyUsed().fit(taught[:, None], labels[taught])
    scores = model.predict_log_proba(user.query[:, None])
    return by_slot(scores, model.classes_, slots)


def most_recent(user: TestUser, codebook: Codebook, slots: int) -> np.ndarray:
    """By how recently they were used before the record, in the support or since."""
    labels = user.columns["label"]
    last = recent_services(labels, LAST)
    model = MostRecentlyUsed(slots).fit(last[user.support], labels[user.support])
    return model.predict_log_proba(last[user.query])


def naive_bayes(user: TestUser, codebook: Codebook, slots: int) -> np.ndarray:
    """By posterior, the blocks of features taken as independent; smoothed by 1."""
    taught = _taught(user)
    if not len(taught):
        return np.full((len(user.query), slots), -np.inf)
    sizes = np.array(block_sizes(codebook))
    codes_of = block_codes(codebook)

    def values(rows: np.ndarray) -> np.ndarray:
        codes = codes_of(user.columns, rows).astype(np.int64)
        return np.where(codes == NOTHING, sizes, codes)  # "none" is a value too

    model = CategoricalNB(min_categories=sizes + 1)
    model.fit(values(taught), user.columns["label"][taught])
    scores = model.predict_log_proba(values(user.query))
    return by_slot(scores, model.classes_, slots)


COUNTING: dict[str, Scores] = {
    "mfu": most_frequent,
    "mru": most_recent,
    "nb": naive_bayes,
}


def _taught(user: TestUser) -> np.ndarray:
    """Support records, but for those of services without a local number."""
    return user.support[user.columns["label"][user.support] >= 0]
