"""The average of the server's last iterates (Polyak and Juditsky 1992).

Where a constant rate makes single iterates jump about a good point, their mean is
nearer to it than any of them.
"""

import logging
from collections.abc import Callable
from typing import Any

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.trees import running_mean, tree_clone
from fedmeta.core.types import MetaParams, ServerState

log = logging.getLogger(__name__)


class IterateAverage:
    """Mean of the parameters after each round of the last quarter of a training.

    It does not affect the training, so that every training keeps it.

    Args:
        rounds: of the training, in all.
    """

    def __init__(self, rounds: int) -> None:
        self._before = 3 * rounds // 4  # rounds that are not averaged
        self._mean: MetaParams | None = None
        self._count = 0

    def add(self, state: ServerState) -> None:
        """Add the parameters after one more round."""
        if self._count == state.round - self._before - 1:  # no round is missing
            self._count += 1
            self._mean = running_mean(self._mean, state.meta, self._count)

    def kept_in(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with the mean until now."""
        mean = self._mean and tree_clone(self._mean)  # it is overwritten later
        return checkpoint._replace(average=mean, averaged=self._count)

    def follows(self, checkpoint: Checkpoint | None) -> bool:
        """Whether resuming from a checkpoint gives the complete mean."""
        if checkpoint is None or checkpoint.state.round <= self._before:
            return True
        return checkpoint.averaged == checkpoint.state.round - self._before

    def completable(
        self, called: str, checkpoint: Checkpoint | None
    ) -> Checkpoint | None:
        """The checkpoint, or None where the mean could not be completed from it."""
        if checkpoint is None or self.follows(checkpoint):
            return checkpoint
        log.info(
            "%s: training from the start: the checkpoint of round %d lacks the average"
            " since round %d",
            called,
            checkpoint.state.round,
            self._before,
        )
        return None

    def resume(self, checkpoint: Checkpoint, placed: Callable[[Any], Any]) -> None:
        """Resume from a checkpoint; if it lacks past rounds, there is no mean.

        Args:
            checkpoint: of this training.
            placed: moves tensors to where parameters are.
        """
        if checkpoint.state.round > self._before and self.follows(checkpoint):
            self._mean = tree_clone(placed(checkpoint.average))  # as in `kept_in`
            self._count = checkpoint.averaged
