"""The evaluation node: one row a test client."""

import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.identity import ROUNDS
from fedmeta.pipelines.checks import check_algorithms, checked_by
from fedmeta.pipelines.divergence import scores, warn_nonfinite
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.pipelines.training.setup import Data, judged_with, prepare, settings_of


@checked_by(check_algorithms)
def evaluate(
    benchmark: Benchmark,
    names: list[str],
    name: str,
    records: FederatedDataset,
    clients: pd.DataFrame,
    client_split: dict,
    support_query: pd.DataFrame,
    codebook: Codebook,
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
    data = Data(records, clients, client_split, support_query, codebook)
    wanted = settings_of(benchmark, data, training, model, names, algorithms)
    wanted[ROUNDS] = training.rounds
    origin = judged_with(checkpoint.reached, wanted, name, evaluate)
    setup = prepare(benchmark, data, training, model, names, algorithms)
    rows = setup.evaluated(name, checkpoint.learned, data.part("test"))
    table = scores(rows, f"test clients evaluated for {name}", checkpoint.diverged)
    warn_nonfinite(table, name)
    table.attrs |= origin
    return table
