"""What the clients of a training keep from round to round."""

import logging
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.types import Algorithm, ClientId, MakeTask, Params, ServerState
from fedmeta.data.ids import Ids
from fedmeta.data.states import ClientStates, LastRounds
from fedmeta.pipelines.training.setup import Data, Setup

log = logging.getLogger(__name__)


class Keeping:
    """The means to keep what an algorithm's clients do; if nothing, nothing is done.

    Args:
        called: the training, in the log.
        trained: its algorithm.
        setup: of the training.
        data: with all clients.
        folder: of this training alone, for what is kept.
    """

    def __init__(
        self, called: str, trained: Algorithm, setup: Setup, data: Data, folder: Path
    ) -> None:
        self._called, self._initial = called, trained.client_state
        self._states: LastRounds | None = None
        if trained.client_state is None:
            return
        if setup.nodes is not None:  # which keep them
            self._states = setup.nodes.kept
        else:
            self._states = ClientStates(folder, Ids(data.clients["client_id"]))

    @property
    def keep(self) -> Callable[[ClientId, int, Params], None] | None:
        """As of `fedmeta.core.engine.run_rounds`."""
        return None if self._states is None else self._states.keep

    @property
    def rounds(self) -> Tensor | None:
        """What a checkpoint needs to know."""
        return None if self._states is None else self._states.rounds

    def resumable(
        self, checkpoint: Checkpoint | None, rounds: int
    ) -> Checkpoint | None:
        """The checkpoint, unless it cannot be resumed for want of what clients kept.

        Args:
            checkpoint: of this training.
            rounds: that the training is to have.
        """
        if self._states is None or checkpoint is None or _ended(checkpoint, rounds):
            return checkpoint
        kept, number = checkpoint.states, checkpoint.state.round
        if kept is not None and self._states.resume(kept, number):
            return checkpoint
        log.warning(
            "%s: training from the start, since what its clients kept up to round %d"
            " has been replaced by that of later rounds, or is not there",
            self._called,
            number,
        )
        return None

    def clear(self) -> None:
        """Begin from the start."""
        if self._states is not None:
            self._states.clear()

    def given(self, make_task: MakeTask, state: ServerState) -> MakeTask:
        """Tasks with what their clients have kept."""
        if self._states is None or self._initial is None:
            return make_task
        return self._states.given(make_task, self._initial(state.meta))

    def settle(self, number: int) -> None:
        """A checkpoint after this round is written."""
        if self._states is not None:
            self._states.settle(number)


def _ended(checkpoint: Checkpoint, rounds: int) -> bool:
    """Whether nothing is left to train up to so many rounds."""
    diverged = checkpoint.diverged
    return checkpoint.state.round == rounds or (
        diverged is not None and diverged.round <= rounds
    )
