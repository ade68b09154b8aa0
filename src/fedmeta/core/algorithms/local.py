"""Local training: what a client makes of its own records, without a federation.

Every client starts from the same initial weights, which the seed gives, and trains them
on its support set. Nothing is sent: there are no rounds, and no traffic.
"""

from functools import partial

from fedmeta.core.algorithms.common import without_rounds
from fedmeta.core.algorithms.fedavg import FineTuning, check_fine_tuning, fine_tuned
from fedmeta.core.bounds import Count
from fedmeta.core.gradients import Loss
from fedmeta.core.types import Algorithm, Batch, MetaParams, Params


def local_training(
    loss: Loss, *, fine_tuning: FineTuning, chunk: Count | None = None
) -> Algorithm:
    """Train the initial weights on each evaluated client's support set.

    Args:
        loss: mean loss of a batch.
        fine_tuning: this training.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """

    def adapt(meta: MetaParams, support: Batch) -> Params:
        return fine_tuned(loss, meta["theta"], support, fine_tuning, chunk)

    return without_rounds(adapt, partial(check_fine_tuning, fine_tuning))
