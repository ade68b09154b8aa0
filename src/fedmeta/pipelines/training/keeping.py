"""What the clients of a training keep from round to round."""

import logging
from pathlib import Path

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.types import Algorithm
from fedmeta.data.ids import Ids
from fedmeta.data.states import ClientStates, LastRounds
from fedmeta.pipelines.training.setup import Setup, TrainingPlan

log = logging.getLogger(__name__)


def states_of(
    trained: Algorithm, plan: TrainingPlan, setup: Setup, folder: Path
) -> LastRounds | None:
    """What an algorithm's clients keep, and where; None: nothing.

    Args:
        trained: the algorithm.
        plan: of the training.
        setup: of it.
        folder: of this training alone.
    """
    if trained.client_state is None:
        return None
    if setup.nodes is not None:  # which keep them
        return setup.nodes.kept
    return ClientStates(folder, Ids(plan.data.clients["client_id"]))


def with_states(
    plan: TrainingPlan, checkpoint: Checkpoint | None, states: LastRounds | None
) -> Checkpoint | None:
    """The checkpoint, unless it cannot be resumed for want of what clients kept.

    Where a training begins from the start, so do its clients.

    Args:
        plan: of the training.
        checkpoint: of it.
        states: of its clients.
    """
    if states is None:
        return checkpoint
    if checkpoint is not None:
        kept, number = checkpoint.states, checkpoint.state.round
        if _ended(checkpoint, plan.training.rounds) or (
            kept is not None and states.resume(kept, number)
        ):
            return checkpoint
        log.warning(
            "%s: training from the start, since what its clients kept up to round %d"
            " has been replaced by that of later rounds, or is not there",
            plan.label,
            number,
        )
    states.clear()
    return None


def _ended(checkpoint: Checkpoint, rounds: int) -> bool:
    """Whether nothing is left to train up to so many rounds."""
    diverged = checkpoint.diverged
    return checkpoint.state.round == rounds or (
        diverged is not None and diverged.round <= rounds
    )
