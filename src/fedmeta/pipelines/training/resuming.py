"""What a training takes over from earlier ones, and what it says of that."""

import logging

from fedmeta import identity
from fedmeta.checkpoints import Checkpoint, EarlierCheckpoints
from fedmeta.core.evaluation import metrics_of
from fedmeta.identity import ROUNDS, Settings
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.training.averaging import IterateAverage
from fedmeta.pipelines.training.setup import Setup, TrainingPlan

log = logging.getLogger(__name__)


def under(fraction: float) -> str:
    """What a support fraction adds to the names of histories."""
    return f" p{fraction:g}"


def resumable(
    plan: TrainingPlan,
    earlier: EarlierCheckpoints,
    partition: PartitionOptions,
    settings: Settings,
    shared: str,
    average: IterateAverage,
) -> Checkpoint | None:
    """The checkpoint that a training resumes from, or whose results it has.

    Args:
        plan: of the training.
        earlier: checkpoints of earlier runs.
        partition: with the support fraction of this run.
        settings: of this run.
        shared: fingerprint of the training under any support fraction; "": it depends
            on that.
        average: which needs all rounds that it is of.
    """
    rounds = plan.training.rounds
    checkpoint = earlier.own(identity.fingerprint(settings), rounds)
    if plan.training.iterate == "average":
        checkpoint = average.completable(plan.label, checkpoint)
    if checkpoint is not None or not shared:
        return checkpoint
    keys = {name: name + under(partition.support_fraction) for name in plan.names}
    for found in earlier.alike(shared, rounds):
        if found.history.keys() >= set(keys.values()):
            log.info(
                "%s: trained before, under another support fraction", plan.names[0]
            )
            return found._replace(
                settings=settings,
                history={name: found.history[key] for name, key in keys.items()},
                validation={name: found.validation[key] for name, key in keys.items()},
            )
    return None


def tell_others(
    plan: TrainingPlan, earlier: EarlierCheckpoints, settings: Settings
) -> None:
    """Log how the nearest earlier training differs, if there is one; none is used."""
    settings = {**settings, ROUNDS: plan.training.rounds}
    others = list(earlier.others())
    names, other = identity.nearest(others, settings)
    if others:
        log.info(
            "%s: training from the start; the nearest checkpoint that was kept is %s",
            plan.label,
            f"of a training with {identity.in_words(names, other, settings)}"
            if other
            else "damaged, or of an earlier version of this project",
        )


def tell_resumed(plan: TrainingPlan, checkpoint: Checkpoint, setup: Setup) -> None:
    """Log the round that training resumes from, and metrics that older points lack."""
    log.info("%s: resuming after round %d", plan.label, checkpoint.state.round)
    watched = plan.data.part("validation")[:1]
    scores = next(setup.evaluated(plan.names[0], checkpoint.state.meta, watched))
    history = checkpoint.history[plan.names[-1]]
    new = [m for m in metrics_of(scores) if f"validation_{m}_after" not in history]
    if new:
        log.info(
            "%s: points up to round %d were recorded without %s; later points and the"
            " scores of test clients have it",
            plan.label,
            checkpoint.state.round,
            " and ".join(new),
        )
