"""From packed records to the tasks that clients work on.

All randomness of training ends here. What is drawn depends on the seed, the client's id
and the round alone, so it is the same for every algorithm, on every backend, and in a
run that was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
import torch

from fedmeta.core.bounds import Count, Share
from fedmeta.core.types import Batch, ClientId, MakeTask, Task
from fedmeta.data.encoding import Encoding
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.ids import Ids
from fedmeta.data.partition import record_orders
from fedmeta.late import pd

# Named random streams: drawing more from one never moves another.
COHORT_STREAM, TASK_STREAM, PASS_STREAM, NOISE_STREAM = 1, 2, 3, 4


class Episode(NamedTuple):
    """A draw from all of a client's records, instead of its support and query sets.

    At most half of its records, in chronological order: the first of them are support,
    the rest query (Chen et al. 2018, section 4.3).
    """

    records: Count  # at most so many
    support_fraction: Share
    sampling: Literal["block", "random"] = "block"  # successive ones, or any

    def size(self, records: int) -> tuple[int, int]:
        """Support and query records drawn of a client of so many."""
        drawn = max(2, min(self.records, records // 2))
        support = math.floor(self.support_fraction * drawn + 1e-9)
        support = min(max(1, support), drawn - 1)
        return support, drawn - support

    def draw(self, records: int, rng: np.random.Generator) -> np.ndarray:
        """[drawn] record numbers, ascending."""
        drawn = sum(self.size(records))
        if self.sampling == "random":
            return np.sort(rng.choice(records, drawn, replace=False))
        return rng.integers(records - drawn + 1) + np.arange(drawn)


def task_maker(
    dataset: FederatedDataset,
    clients: pd.DataFrame,
    partition: pd.DataFrame,
    encoding: Encoding,
    *,
    seed: int,
    passes: int = 0,
    resample: bool = False,
    episode: Episode | None = None,
    device: torch.device | str = "cpu",
) -> MakeTask:
    """The function that draws a client's task for a round.

    Args:
        dataset: packed records.
        clients: the records ``[start, stop)`` that are used of each client.
        partition: each client's order of records and size of the support set.
        encoding: turns a client's columns into tensors.
        seed: of the order in which records come.
        passes: shuffled passes over all records that local training needs.
        resample: draw support and query anew every round ("sample support set and
            query set", Algorithm 1) instead of keeping the partition.
        episode: draw records of the client every round instead.
        device: where tasks are put.
    """
    used, divided = Ids(clients["client_id"]), Ids(partition["client_id"])
    starts, stops = (clients[name].to_numpy() for name in ("start", "stop"))
    numbers, bounds = record_orders(partition)
    supports = partition["num_support"].to_numpy()

    def make_task(client: ClientId, round_number: int) -> Task:
        rng = stream(seed, TASK_STREAM, crc32(client.encode()), round_number)
        row = divided.row(client)
        order, num_support = numbers[bounds[row] : bounds[row + 1]], supports[row]
        row = used.row(client)
        start, stop = starts[row], stops[row]
        if episode is not None:
            order = episode.draw(stop - start, rng)
            num_support, _ = episode.size(stop - start)
        elif resample:
            order = rng.permutation(order)
        # Shuffled, so that batches differ from round to round.
        support = rng.permutation(order[:num_support])
        query = rng.permutation(order[num_support:])
        # Passes are drawn over records by number, so that training that goes over all
        # of them does not depend on which are support.
        place = np.argsort(np.concatenate([support, query]))
        own = stream(seed, PASS_STREAM, crc32(client.encode()), round_number)
        orders = [place[own.permutation(len(order))] for _ in range(passes)]

        columns = dataset.columns(client)
        columns = encoding.personal(columns, start + order[:num_support])

        def batch(rows: np.ndarray) -> Batch:
            x, y = encoding.examples(columns, start + rows)
            return Batch(x.to(device), y.to(device))

        shuffled = np.array(orders, dtype=np.int64).reshape(passes, len(order))
        return Task(
            batch(support),
            batch(query),
            torch.from_numpy(shuffled).to(device),
            torch.tensor(float(round_number), device=device),
        )

    return make_task


def pooled_task_maker(
    dataset: FederatedDataset,
    clients: pd.DataFrame,
    encoding: Encoding,
    *,
    records: int,
    seed: int,
    passes: int,
    device: torch.device | str = "cpu",
) -> MakeTask:
    """Tasks of as many records of all clients together: training in one place.

    The client that a task is made for names a random stream and nothing else.

    Args:
        dataset: packed records.
        clients: whose records [start, stop) are put together.
        encoding: turns a client's columns into tensors.
        records: different ones drawn for a task; the first half is its support set.
        seed: of the draws.
        passes: shuffled passes over the drawn records.
        device: where tasks are put.

    Raises:
        ValueError: if there are not so many records.
    """
    ids, starts = Ids(clients["client_id"]), clients["start"].to_numpy()
    ends = np.cumsum(clients["stop"].to_numpy() - starts)
    if not 2 <= records <= ends[-1]:
        raise ValueError(
            f"pooled is {records}; expected at least 2 and at most {ends[-1]}, the"
            " records of all training clients"
        )

    def make_task(client: ClientId, round_number: int) -> Task:
        rng = stream(seed, TASK_STREAM, crc32(client.encode()), round_number)
        numbers = np.sort(rng.choice(ends[-1], records, replace=False, shuffle=False))
        owners = np.searchsorted(ends, numbers, side="right")
        parts = []
        for owner in np.unique(owners):
            first = ends[owner - 1] if owner else 0
            rows = numbers[owners == owner] - first + starts[owner]
            columns = encoding.personal(dataset.columns(ids[owner]), rows)
            parts.append(encoding.examples(columns, rows))
        shuffled = torch.from_numpy(rng.permutation(records))
        x, y = (
            torch.cat(column)[shuffled].to(device)
            for column in zip(*parts, strict=True)
        )
        half = records // 2
        orders = np.array([rng.permutation(records) for _ in range(passes)], np.int64)
        return Task(
            Batch(x[:half], y[:half]),
            Batch(x[half:], y[half:]),
            torch.from_numpy(orders.reshape(passes, records)).to(device),
            torch.tensor(float(round_number), device=device),
        )

    return make_task


def sample_cohort(
    clients: Sequence[ClientId], size: int, seed: int, round_number: int
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


def poisson_cohort(
    clients: Sequence[ClientId], expected: int, seed: int, round_number: int
) -> list[ClientId]:
    """Each client with probability ``expected / len(clients)``, independently.

    By seed and round alone. There may be none.
    """
    rng = stream(seed, COHORT_STREAM, round_number)
    draws = rng.random(len(clients)) * len(clients)
    return [c for c, drawn in zip(clients, draws, strict=True) if drawn < expected]


def stream(*keys: int) -> np.random.Generator:
    """A random stream named by numbers."""
    return np.random.default_rng(np.random.SeedSequence(keys))
