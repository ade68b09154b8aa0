"""The mixed network: one model of all users' records in one place, then fine-tuned."""

import json
import logging
from collections.abc import Iterator

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint, EarlierCheckpoints
from fedmeta.core.algorithms.common import theta_only
from fedmeta.core.optimizers import adam
from fedmeta.core.types import ClientId, Diverged
from fedmeta.identity import Settings
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.divergence import marked, remedy, warn_nonfinite
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.progress import Clock, lasts
from fedmeta.pipelines.recommendation.options import StudyOptions, UnifiedOptions
from fedmeta.pipelines.recommendation.users import divided, judged_on, services_used
from fedmeta.pipelines.training.machine import cores
from fedmeta.pipelines.training.setup import judged_with, made_with
from fedmeta.recommenders import unified as mixed

log = logging.getLogger(__name__)


@lasts("options", "steps")
def pretrain(
    benchmark: Benchmark,
    data: Data,
    earlier: EarlierCheckpoints,
    training: TrainingOptions,
    options: UnifiedOptions,
) -> Iterator[tuple[Checkpoint, pd.DataFrame]]:
    """Train the mixed network on the training users' records, put in one place.

    Resumes from an earlier checkpoint, as the training of federated methods does.

    Yields:
        (checkpoint, history) every ``report_every`` steps.
    """
    settings = {**data.settings(), **_unified(benchmark, training, options)}
    users = _numbers(data.clients)
    encoding = benchmark.encoding(data.codebook)

    def chunk(checkpoint: Checkpoint) -> tuple[Checkpoint, pd.DataFrame]:
        history = checkpoint.history["unified"]
        history.attrs = made_with(_reached(checkpoint))
        history.attrs["timing"] = list(checkpoint.timing)
        return checkpoint, marked(history, checkpoint.diverged)

    kept = earlier.own(identity.fingerprint(settings), options.steps)
    if kept is not None:
        log.info("unified: resuming after step %d", kept.state.round)
        checkpoint = kept._replace(rounds=options.steps, diverged=None)
        yield chunk(checkpoint)
        state = checkpoint.state
        rows = checkpoint.history["unified"].to_dict(orient="records")
    else:
        params = mixed.initial(
            training.seed,
            features=encoding.sizes["features"],
            users=len(users),
            services=len(json.loads(data.records.metadata["services"])),
            hidden=options.hidden,
        )
        state, rows = theta_only(adam(options.learning_rate))(params), []
        empty = pd.DataFrame(columns=["round", "train_loss"], dtype=float)
        history = {"unified": empty}
        checkpoint = Checkpoint(settings, state, history, options.steps)
    clock = Clock("unified", options.steps, checkpoint.timing)
    steps = mixed.pretrain(
        state,
        data.part("train"),
        services_used(data, encoding),
        users,
        steps=options.steps,
        batch_size=options.batch_size,
        lr=options.learning_rate,
        seed=training.seed,
        report_every=options.report_every,
    )
    try:
        if kept and kept.diverged and kept.diverged.round <= options.steps:
            raise Diverged(kept.diverged)
        for step, state, metrics in clock.timed(steps, state.round):
            total, seen = metrics["loss"].tolist()
            clock.tick(step, total / seen)
            rows.append({"round": step, "train_loss": total / seen})
            history = {"unified": pd.DataFrame(rows)}
            checkpoint = Checkpoint(
                settings, state, history, options.steps, timing=clock.at(step)
            )
            yield chunk(checkpoint)
    except Diverged as error:
        found = error.divergence
        log.error("unified: %s; %s", found, remedy(options.model_dump(), found))
        yield chunk(checkpoint._replace(diverged=found))


def score_unified(
    benchmark: Benchmark,
    undivided: Data,
    checkpoint: Checkpoint,
    partition: PartitionOptions,
    study: StudyOptions,
    training: TrainingOptions,
    options: UnifiedOptions,
) -> pd.DataFrame:
    """Scores of the mixed network, fine-tuned to each test user's support."""
    wanted = {
        **judged_on(undivided, partition, study),
        **_unified(benchmark, training, options),
        "unified.steps": options.steps,
    }
    judged = {"unified.fine_tuning_steps": options.fine_tuning_steps}
    trained = {**_reached(checkpoint), **judged}
    origin = judged_with(trained, {**wanted, **judged}, "unified", score_unified)
    encoding = benchmark.encoding(undivided.codebook)
    tables = []
    found = checkpoint.diverged
    if found is not None:  # one is enough for the columns
        one = {"test": undivided.client_split["test"][:1]}
        undivided = undivided._replace(client_split=one)
    for fraction in study.support_fractions:
        own = divided(undivided, partition, fraction)
        scores = mixed.scores(
            checkpoint.state.meta["theta"],
            own.partitioned.drop(columns="order").assign(support_fraction=fraction),
            services_used(own, encoding),
            _numbers(own.clients),
            steps=options.fine_tuning_steps,
            batch_size=options.batch_size,
            lr=options.learning_rate,
            seed=training.seed,
            workers=cores(),
        )
        tables.append(scores)
    table = pd.concat(tables, ignore_index=True)
    table.attrs = origin
    if found is not None:
        return marked(table.iloc[:0], found)
    warn_nonfinite(table, "unified")
    return table


def _unified(
    benchmark: Benchmark, training: TrainingOptions, options: UnifiedOptions
) -> Settings:
    """What decides the mixed network, but for data and numbers of steps."""
    no_result = {"steps", "fine_tuning_steps", "report_every"}
    return {
        **identity.settings(
            training={"seed": training.seed},
            unified=options.model_dump(exclude=no_result),
        ),
        **identity.code(pretrain, benchmark.encoding),
    }


def _reached(checkpoint: Checkpoint) -> Settings:
    return {**checkpoint.settings, "unified.steps": checkpoint.ended}


def _numbers(clients: pd.DataFrame) -> dict[ClientId, int]:
    """The number of each user in the mixed network: training and test users."""
    return {client: number for number, client in enumerate(clients["client_id"])}
