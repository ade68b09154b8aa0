"""In which order clients begin; that results are the same is in test_algorithms.py."""

import pytest
import torch

from fedmeta.core.backends import threaded
from fedmeta.core.types import Batch, Task


@pytest.mark.parametrize(
    ("sizes", "begun"),
    [
        ([1, 3], [3, 1]),
        ([2], [2]),
        ([], []),
        ([1, 3, 2], [1, 3, 2]),  # more than two a worker: as they come
    ],
)
def test_of_a_small_cohort_the_largest_client_begins_first(sizes, begun):
    started = []

    def make_task(client, _):
        x = torch.zeros(sizes[client], 1)
        return Task(Batch(x[:1], x[:1]), Batch(x[1:], x[1:]), torch.zeros(0))

    def size(_, task):
        started.append(len(task.support.y) + len(task.query.y))
        return started[-1]

    clients = range(len(sizes))
    found = list(threaded(1)(size, make_task)(None, clients, 1))
    assert found == list(zip(clients, sizes, strict=True))
    assert started == begun
