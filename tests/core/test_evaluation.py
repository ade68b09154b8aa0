"""The norm of the meta-gradient, by hand on quadratics."""

import pytest
import torch
from toys import quadratic_batch, quadratic_loss, scalar_batch, scalar_loss

from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.evaluation import EVALUATION_ROUND, meta_gradient_norm
from fedmeta.core.types import Batch, Task

# The mean of ann's targets is 1, of bob's 5: of clients it is 3, of records 2.6.
TARGETS = {"ann": ([0.0, 1.0], [2.0]), "bob": ([4.0], [6.0])}


def number(value: float) -> dict:
    return {"theta": {"w": torch.tensor(value, dtype=torch.float64)}}


def task_of(support: Batch, query: Batch) -> Task:
    return Task(support, query, torch.zeros(0, len(support.y) + len(query.y)).long())


def scalar_task(client: str, round_number: int) -> Task:
    assert round_number == EVALUATION_ROUND
    support, query = TARGETS[client]
    return task_of(scalar_batch(*support), scalar_batch(*query))


def norm(start: float, backend=sequential, clients=("ann", "bob"), **options) -> float:
    """Of losses (w - target)² / 2 from w = ``start``."""
    return meta_gradient_norm(
        scalar_loss, number(start), list(clients), scalar_task, backend, **options
    )


@pytest.mark.parametrize(
    ("inner_lr", "steps", "shrinks"),
    [(0.0, 1, 1.0), (0.5, 1, 0.25), (0.5, 2, 0.0625), (0.1, 3, 0.9**6)],
)
def test_the_distance_to_the_mean_of_clients_shrinks(inner_lr, steps, shrinks):
    # A step leaves (1 - alpha) of the distance to a client's mean, the gradient of
    # where it leads is (1 - alpha) of that: together (1 - alpha)², nu times.
    assert norm(7.0, inner_lr=inner_lr, steps=steps) == pytest.approx(4 * shrinks)


def test_clients_that_pull_apart_cancel():
    """It is the norm of the mean, not the mean of norms."""
    assert norm(3.0, inner_lr=0.5) == pytest.approx(0.0, abs=1e-12)
    assert norm(3.0, clients=["ann"], inner_lr=0.5) == pytest.approx(2 * 0.25)


def test_two_dimensions_by_hand():
    """(I - alpha A)² A (w - a) of A = diag(1, 2), alpha = 1/4, a mean of (1, 2)."""
    matrix = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))

    def task(client: str, round_number: int) -> Task:
        sides = {"ann": ([0.0, 0.0], [2.0, 0.0]), "bob": ([0.0, 8.0], [2.0, 0.0])}
        support, query = (
            quadratic_batch(matrix, torch.tensor(a, dtype=torch.float64))
            for a in sides[client]
        )
        return task_of(support, query)

    meta = {"theta": {"w": torch.tensor([5.0, 6.0], dtype=torch.float64)}}
    found = meta_gradient_norm(
        quadratic_loss, meta, ["ann", "bob"], task, sequential, inner_lr=0.25
    )
    # [(3/4)² 1 (5 - 1), (1/2)² 2 (6 - 2)] = [9/4, 2]
    assert found == pytest.approx((81 / 16 + 4) ** 0.5)


@pytest.mark.parametrize(
    ("backend", "chunk"),
    [(threaded(2), None), (vectorized(2), None), (vectorized(1), 2), (sequential, 1)],
)
def test_no_backend_and_no_chunk_changes_it(backend, chunk):
    options = {"inner_lr": 0.3, "steps": 2}
    found = norm(7.0, backend, chunk=chunk, **options)
    assert found == pytest.approx(4 * 0.7**4)


def test_of_what_is_learned_theta_alone_counts():
    meta = number(7.0)
    found = meta_gradient_norm(
        scalar_loss,
        {**meta, "alpha": number(99.0)["theta"]},
        ["ann", "bob"],
        scalar_task,
        sequential,
        inner_lr=0.5,
    )
    assert found == pytest.approx(1.0)
    assert meta["theta"]["w"] == 7.0
