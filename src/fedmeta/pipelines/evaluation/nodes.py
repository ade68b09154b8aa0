"""The evaluation node: one row a test client."""

import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.pipelines.checks import check_algorithms, checked_by
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.divergence import scores
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.pipelines.training.setup import TrainingPlan


@checked_by(check_algorithms)
def evaluate(
    benchmark: Benchmark,
    names: list[str],
    name: str,
    data: Data,
    checkpoint: Checkpoint,
    training: TrainingOptions,
    model: dict,
    **algorithms: dict,
) -> pd.DataFrame:
    """Scores of the test clients under ``name``, from the last round's parameters.

    No row, and a mark, where the training diverged.

    Raises:
        ValueError: if the checkpoint is of another training, or of fewer rounds.
    """
    plan = TrainingPlan(benchmark, data, training, model, names, algorithms)
    origin = plan.origin(checkpoint, name, evaluate)
    rows = plan.prepare().evaluated(name, checkpoint.learned, data.part("test"))
    what = "test clients evaluated for"
    return scores(rows, what, name, origin, checkpoint.diverged)
