"""The nodes of the study: every method on the same test users.

Each gives its scores in one form, a row a user, support fraction and number of steps:
`client_id, support_fraction, steps, num_support, num_query`, and of the query records
the hits `top1` and `top4`, and the sum `loss_sum` where a method has a loss. Steps are
0 where it takes none.
"""

import logging
from collections import UserDict
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.core.types import Batch, ClientId
from fedmeta.data.encoding import Examples
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.divergence import scores
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.recommendation.options import StepOptions, StudyOptions
from fedmeta.pipelines.recommendation.users import (
    TestUser,
    divided,
    judged_on,
    test_users,
)
from fedmeta.pipelines.training.machine import cores
from fedmeta.pipelines.training.setup import TrainingPlan, made_with
from fedmeta.recommenders.ranking import top_k_hits
from fedmeta.recommenders.together import train_together

log = logging.getLogger(__name__)

SUMMED = ("accuracy", "top4", "loss")  # of what `Model.score` returns


def score_counted(
    benchmark: Benchmark,
    name: str,
    undivided: Data,
    partition: PartitionOptions,
    study: StudyOptions,
) -> pd.DataFrame:
    """Scores of a recommender that counts, fitted to each test user's support."""
    # Late: scikit-learn takes half a second to import, which runs of other pipelines,
    # for which this module is loaded too, need not wait for.
    from fedmeta.pipelines.recommendation.counting import COUNTING  # noqa: PLC0415

    settings = {
        **judged_on(undivided, partition, study),
        **identity.code(score_counted, benchmark.encoding),
    }
    encoding = benchmark.encoding(undivided.codebook)
    slots = encoding.sizes["classes"]

    def scored() -> Iterator[dict[str, Any]]:
        for fraction in study.support_fractions:
            own = divided(undivided, partition, fraction)
            for user in test_users(own, encoding):
                guesses = COUNTING[name](user, undivided.codebook, slots)
                labels = user.columns["label"][user.query]
                hits = top_k_hits(guesses, labels, (1, 4)).sum(axis=0)
                yield _row(user, fraction, 0, *hits)

    return scores(scored(), "test users scored for", name, made_with(settings))


def score_trained(
    benchmark: Benchmark,
    name: str,
    undivided: Data,
    partition: PartitionOptions,
    study: StudyOptions,
    training: TrainingOptions,
    model: dict[str, Any],
    options: StepOptions,
) -> pd.DataFrame:
    """Scores of a model trained on each test user's support alone."""
    settings = {
        **judged_on(undivided, partition, study),
        **identity.settings(
            training={"seed": training.seed},
            model={**identity.named(benchmark.model), **model},
            **{name: options},
        ),
        **identity.code(score_trained, benchmark.model, benchmark.encoding),
    }
    encoding = benchmark.encoding(undivided.codebook)
    network = benchmark.model(**encoding.sizes, **model)

    def scored() -> Iterator[dict[str, Any]]:
        for fraction in study.support_fractions:
            own = divided(undivided, partition, fraction)
            users = {user.client: user for user in test_users(own, encoding)}
            trained = train_together(
                _Supports(users, encoding.examples),
                classes=encoding.sizes["classes"],
                **model,
                **options.model_dump(),
                seed=training.seed,
                workers=cores(),
            )
            for client, steps, params in trained:
                user = users[client]
                query = Batch(*encoding.examples(user.columns, user.query))
                with torch.no_grad():
                    hits = network.score(params, query)
                top1, top4, loss = (float(hits[n][0]) for n in SUMMED)
                yield {**_row(user, fraction, steps, top1, top4), "loss_sum": loss}

    return scores(scored(), "scores of", name, made_with(settings))


def score_federated(
    benchmark: Benchmark,
    name: str,
    algorithm: str,
    data: Data,
    checkpoint: Checkpoint,
    partition: PartitionOptions,
    study: StudyOptions,
    training: TrainingOptions,
    model: dict[str, Any],
    options: dict[str, Any],
) -> pd.DataFrame:
    """Scores of a federated method, adapted to each test user's support."""
    blocks = {algorithm: options}
    plan = TrainingPlan(benchmark, data, training, model, [algorithm], blocks, name)
    more = judged_on(data, partition, study)
    origin = plan.origin(checkpoint, name, score_federated, more)
    steps = (options["adapt_plan"] or options["plan"])["epochs"]

    def scored() -> Iterator[dict[str, Any]]:
        for fraction in study.support_fractions:
            own = divided(data, partition, fraction)
            setup, tested = plan._replace(data=own).prepare(), own.part("test")
            for row in setup.evaluated(algorithm, checkpoint.learned, tested):
                yield {
                    "client_id": row["client_id"],
                    "support_fraction": fraction,
                    "steps": steps,
                    "num_support": row["num_support"],
                    "num_query": row["num_query"],
                    "top1": int(row["accuracy_sum_after"]),
                    "top4": int(row["top4_sum_after"]),
                    "loss_sum": row["loss_sum_after"],
                }

    what = "test users adapted to by"
    return scores(scored(), what, name, origin, checkpoint.diverged)


class _Supports(UserDict[ClientId, Any]):
    """Support records as tensors, made when asked for: all at once are large."""

    def __init__(self, users: Mapping[ClientId, TestUser], examples: Examples) -> None:
        super().__init__(users)
        self._examples = examples

    def __getitem__(self, client: ClientId) -> tuple[Tensor, Tensor]:
        user = self.data[client]
        return self._examples(user.columns, user.support)


def _row(
    user: TestUser, fraction: float, steps: int, top1: float, top4: float
) -> dict[str, Any]:
    return {
        "client_id": user.client,
        "support_fraction": fraction,
        "steps": steps,
        "num_support": len(user.support),
        "num_query": len(user.query),
        "top1": int(top1),
        "top4": int(top4),
    }
