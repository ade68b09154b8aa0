"""The evaluation node: one row a test client."""

import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.datasets import Checkpoint
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.pipelines.progress import progress
from fedmeta.pipelines.training.setup import Data, prepare


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
    """Scores of the test clients under ``name``, from the last round's parameters."""
    data = Data(records, clients, client_split, support_query, codebook)
    setup = prepare(benchmark, data, training, model, names, algorithms)
    rows = setup.evaluated(name, checkpoint.state.meta, client_split["test"])
    table = pd.DataFrame(progress(rows, f"test clients evaluated for {name}"))
    return table.rename(columns=lambda c: c.replace("accuracy_", "correct_"))
