"""What a training takes over from earlier ones, and what it says of that."""

import logging
from collections.abc import Iterable

from fedmeta import identity
from fedmeta.checkpoints import Checkpoint, EarlierCheckpoints
from fedmeta.identity import Settings
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.training.averaging import IterateAverage
from fedmeta.pipelines.training.setup import Data, Setup

log = logging.getLogger(__name__)


def under(fraction: float) -> str:
    """What a support fraction adds to the names of histories."""
    return f" p{fraction:g}"


def resumable(
    called: str,
    names: list[str],
    earlier: EarlierCheckpoints,
    training: TrainingOptions,
    partition: PartitionOptions,
    settings: Settings,
    shared: str,
    average: IterateAverage,
) -> Checkpoint | None:
    """The checkpoint that a training resumes from, or whose results it has.

    Args:
        called: the training, in the log.
        names: of the algorithms that it serves.
        earlier: checkpoints of earlier runs.
        training: its round loop.
        partition: with the support fraction of this run.
        settings: of this run.
        shared: fingerprint of the training under any support fraction; "": it depends
            on that.
        average: which needs all rounds that it is of.
    """
    checkpoint = earlier.own(identity.fingerprint(settings), training.rounds)
    if training.iterate == "average":
        checkpoint = average.completable(called, checkpoint)
    if checkpoint is None and shared:
        finished = earlier.alike(shared, training.rounds)
        checkpoint = adopted(finished, names, partition, settings)
    return checkpoint


def adopted(
    finished: Iterable[Checkpoint],
    names: list[str],
    partition: PartitionOptions,
    settings: Settings,
) -> Checkpoint | None:
    """Return the same training under another support fraction, with this one's curves.

    Args:
        finished: runs under any support fraction.
        names: of the algorithms that it serves.
        partition: with the support fraction of this run.
        settings: of this run.
    """
    keys = {name: name + under(partition.support_fraction) for name in names}
    for found in finished:
        if found.history.keys() >= set(keys.values()):
            log.info("%s: trained before, under another support fraction", [*keys][0])
            return found._replace(
                settings=settings,
                history={name: found.history[key] for name, key in keys.items()},
                validation={name: found.validation[key] for name, key in keys.items()},
            )
    return None


def tell_others(called: str, earlier: EarlierCheckpoints, settings: Settings) -> None:
    """Log how the nearest earlier training differs, if there is one; none is used."""
    others = list(earlier.others())
    names, other = identity.nearest(others, settings)
    if others:
        log.info(
            "%s: training from the start; the nearest checkpoint that was kept is %s",
            called,
            f"of a training with {identity.in_words(names, other, settings)}"
            if other
            else "damaged, or of an earlier version of this project",
        )


def tell_resumed(
    called: str, checkpoint: Checkpoint, name: str, setup: Setup, data: Data
) -> None:
    """Log the round that training resumes from, and metrics that older points lack."""
    log.info("%s: resuming after round %d", called, checkpoint.state.round)
    history, watched = checkpoint.history[name], data.part("validation")[0]
    metrics = setup.metrics(setup.placed(checkpoint.state.meta), watched)
    new = [m for m in metrics if f"validation_{m}_after" not in history]
    if new:
        log.info(
            "%s: points up to round %d were recorded without %s; later points and the"
            " scores of test clients have it",
            called,
            checkpoint.state.round,
            " and ".join(new),
        )
