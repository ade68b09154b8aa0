"""Nodes that studies share: repartitioned users, distances, fine-tuning."""

from collections.abc import Iterator
from math import nan

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.core.evaluation import evaluate_fine_tuning
from fedmeta.data.distances import client_distances
from fedmeta.data.federated import ClientRecords, FederatedDataset
from fedmeta.data.partition import checksum
from fedmeta.data.repartition import DIVISIONS, repartition
from fedmeta.datasets import PackedSource
from fedmeta.options import checked, optimizer_from
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.divergence import marked, scores
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.studies.options import (
    DistanceOptions,
    PersonalisationOptions,
    RecipesOptions,
    UserOptions,
)
from fedmeta.pipelines.training.setup import TrainingPlan, made_with


def repartition_users(
    benchmark: Benchmark,
    records: FederatedDataset,
    clients: pd.DataFrame,
    users: UserOptions,
) -> PackedSource:
    """Repartition the records of all clients among new users, by label."""
    options = checked(
        DIVISIONS[users.division], users.options, f"users.{users.division}", given=1
    )

    def dealt() -> tuple[Iterator[ClientRecords], dict[str, str]]:
        labels = benchmark.labels
        return repartition(records, labels, users.division, clients, **options)

    settings = {
        "data.records": records.checksum,
        "data.clients": checksum(clients),
        **identity.settings(users=users),
        **identity.code("data.repartition", benchmark.labels),
    }
    return PackedSource(dealt, settings)


def measure(
    benchmark: Benchmark,
    undivided: Data,
    distances: DistanceOptions,
) -> pd.DataFrame:
    """How far apart the training users' data are, pair by pair."""
    pairs = client_distances(
        undivided.records,
        undivided.clients,
        sorted(undivided.client_split["train"]),
        benchmark.labels,
        benchmark.encoding(undivided.codebook).examples,
        sample=distances.sample,
        seed=distances.seed,
    )
    settings = {**undivided.settings(), **identity.settings(distances=distances)}
    settings |= identity.code(measure, benchmark.encoding, benchmark.labels)
    pairs.attrs = made_with(settings)
    return pairs


def personalise(
    benchmark: Benchmark,
    name: str,
    data: Data,
    checkpoint: Checkpoint,
    training: TrainingOptions,
    model: dict,
    personalisation: PersonalisationOptions,
    part: str = "test",
) -> pd.DataFrame:
    """Scores of clients after each number of epochs on their support sets.

    However it was trained, every initialisation is personalised in the same way. The
    clients are those of one ``part`` of the split.

    Returns:
        A row a client and number of epochs: `client_id, epochs, num_support, num_query`
        and, of each metric, the sum over the query records, `<metric>_sum`. No row, and
        a mark, where the training diverged.

    Raises:
        ValueError: if the checkpoint is of another training, or of fewer rounds.
    """
    plan = TrainingPlan(benchmark, data, training, model)
    more = identity.settings(personalisation=personalisation)
    origin = plan.origin(checkpoint, name, personalise, more)
    setup = plan.prepare()
    rows = evaluate_fine_tuning(
        setup.model,
        setup.placed(checkpoint.learned),
        data.part(part),
        setup.evaluation_task,
        setup.backend,
        optimizer=optimizer_from(personalisation.optimizer),
        epochs=personalisation.epochs,
        batch_size=personalisation.batch_size,
        chunk=setup.chunk,
    )
    table = scores(rows, "scores of", name, origin, checkpoint.diverged)
    return table.sort_values("epochs", kind="stable", ignore_index=True)


def fine_tune(
    benchmark: Benchmark,
    data: Data,
    checkpoint: Checkpoint,
    training: TrainingOptions,
    model: dict,
    partition: PartitionOptions,
    recipes: RecipesOptions,
) -> pd.DataFrame:
    """How accurate one trained model becomes by several recipes of fine-tuning.

    Judged on validation clients, since a recipe is there to be chosen.

    Returns:
        A row a recipe and number of epochs: `recipe` in words, `epochs`, `accuracy` in
        percent of all query records, and the run's `support_fraction`. Marked, and the
        accuracy missing, where the training diverged.
    """
    rows = []
    for recipe in recipes.root.values():
        words = recipe.words()
        personal = personalise(
            benchmark,
            words,
            data,
            checkpoint,
            training,
            model,
            recipe,
            part="validation",
        )
        rows += [
            {
                "recipe": words,
                "epochs": epochs,
                "accuracy": _accuracy(personal[personal["epochs"] == epochs]),
                "support_fraction": partition.support_fraction,
            }
            for epochs in recipe.epochs
        ]
    table = pd.DataFrame(rows)
    settings = {**personal.attrs["settings"], **identity.settings(recipes=recipes)}
    table.attrs = made_with(
        {k: v for k, v in settings.items() if not k.startswith("personalisation.")}
    )
    return marked(table, checkpoint.diverged)


def _accuracy(scores: pd.DataFrame) -> float:
    """Share of all query records classified correctly, in percent; nan of no row."""
    queries = scores["num_query"].sum()
    return 100 * float(scores["accuracy_sum"].sum()) / queries if queries else nan
