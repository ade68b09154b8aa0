"""From packed records to the tasks that clients work on.

All randomness of training ends here. What is drawn depends on the seed, the client's id
and the round alone, so it is the same for every algorithm, on every backend, and in a
run that was interrupted.
"""

from zlib import crc32

import numpy as np
import pandas as pd
import torch

from fedmeta.core.types import Batch, ClientId, MakeTask, Task
from fedmeta.data.encoding import Examples
from fedmeta.data.federated import FederatedDataset

# Named random streams: drawing more from one never moves another.
COHORT_STREAM, TASK_STREAM = 1, 2


def task_maker(
    dataset: FederatedDataset,
    clients: pd.DataFrame,
    partition: pd.DataFrame,
    examples: Examples,
    *,
    seed: int,
    passes: int = 0,
    resample: bool = False,
    device: torch.device | str = "cpu",
) -> MakeTask:
    """The function that draws a client's task for a round.

    Args:
        dataset: packed records.
        clients: the records ``[start, stop)`` that are used of each client.
        partition: each client's order of records and size of the support set.
        examples: turns a client's columns into tensors.
        seed: of the order in which records come.
        passes: shuffled passes over all records that local training needs.
        resample: draw support and query anew every round ("sample support set and
            query set", Algorithm 1) instead of keeping the partition.
        device: where tasks are put.
    """
    starts = dict(zip(clients["client_id"], clients["start"], strict=True))
    parts = {
        row.client_id: (np.asarray(row.order), int(row.num_support))
        for row in partition.itertuples()
    }

    def make_task(client: ClientId, round_number: int) -> Task:
        rng = stream(seed, TASK_STREAM, crc32(client.encode()), round_number)
        order, num_support = parts[client]
        if resample:
            order = rng.permutation(order)
        # Shuffled, so that batches differ from round to round.
        support = rng.permutation(order[:num_support])
        query = rng.permutation(order[num_support:])
        orders = [rng.permutation(len(order)) for _ in range(passes)]

        columns, start = dataset.columns(client), starts[client]

        def batch(rows: np.ndarray) -> Batch:
            x, y = examples(columns, start + rows)
            return Batch(x.to(device), y.to(device))

        shuffled = np.array(orders, dtype=np.int64).reshape(passes, len(order))
        return Task(batch(support), batch(query), torch.from_numpy(shuffled).to(device))

    return make_task


def sample_cohort(
    clients: list[ClientId], size: int, seed: int, round_number: int
) -> list[ClientId]:
    """``size`` different clients for a round, by seed and round alone.

    Raises:
        ValueError: if there are fewer clients than that.
    """
    if size > len(clients):
        raise ValueError(
            f"clients_per_round is {size}, but there are {len(clients)} training"
            " clients; lower it, or keep more clients"
        )
    rng = stream(seed, COHORT_STREAM, round_number)
    return [clients[i] for i in rng.choice(len(clients), size, replace=False)]


def stream(*keys: int) -> np.random.Generator:
    """A random stream named by numbers."""
    return np.random.default_rng(np.random.SeedSequence(keys))
