"""Fine-tuning and the norm of the meta-gradient, by hand on quadratics."""

import pytest
import torch
from toys import quadratic_batch, quadratic_loss, scalar_batch, scalar_loss

from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.evaluation import (
    EVALUATION_ROUND,
    evaluate_fine_tuning,
    meta_gradient_norm,
)
from fedmeta.core.model import ForwardFlops, Model
from fedmeta.core.optimizers import sgd
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


def _itself(params: dict, x: torch.Tensor) -> torch.Tensor:
    return params["w"]


def _counted(w: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    total = scalar_loss({"w": w}, batch) * len(batch.y)
    return {"loss": torch.stack([total, total.new_tensor(len(batch.y))])}


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


@pytest.mark.parametrize("backend", [sequential, vectorized(1)])
def test_fine_tuning_costs_its_largest_number_of_epochs(backend):
    steps = 0

    def loss(params, batch):
        nonlocal steps
        steps += 1
        return scalar_loss(params, batch)

    model = Model(number, _itself, loss, _counted, ForwardFlops(0, 0))
    rows = list(
        evaluate_fine_tuning(
            model,
            number(7.0),
            ["ann", "bob"],
            scalar_task,
            backend,
            optimizer=sgd(0.5),
            epochs=(0, 1, 3, 4),
            batch_size=None,
        )
    )
    assert steps == 2 * 4
    # From 7 a step goes half the way to the support's mean: 1/2 of ann's, 4 of bob's.
    assert [(r["client_id"], r["epochs"]) for r in rows] == [
        (client, epochs) for client in ("ann", "bob") for epochs in (0, 1, 3, 4)
    ]
    assert [row["loss_sum"] for row in rows] == pytest.approx(
        [
            *((0.5 + 6.5 * 0.5**n - 2) ** 2 / 2 for n in (0, 1, 3, 4)),
            *((4 + 3 * 0.5**n - 6) ** 2 / 2 for n in (0, 1, 3, 4)),
        ]
    )


@pytest.mark.parametrize("size", [1, None])
def test_no_epoch_of_fine_tuning_is_the_model_as_it_was(size):
    found = evaluate_fine_tuning(
        Model(number, _itself, scalar_loss, _counted, ForwardFlops(0, 0)),
        number(7.0),
        ["ann"],
        scalar_task,
        sequential,
        optimizer=sgd(0.5),
        epochs=(0,),
        batch_size=size,
    )
    assert [row["loss_sum"] for row in found] == [pytest.approx(25 / 2)]
