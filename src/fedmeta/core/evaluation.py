"""Evaluate clients before and after adaptation: one row a client.

Rows hold sums and counts, so that the accuracy over all records (the paper's), the mean
over clients, the worst decile and the share of clients made worse are one ``groupby``
away.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

import torch

from fedmeta.core.algorithms.common import everything
from fedmeta.core.gradients import Loss, count, slices
from fedmeta.core.inner import Plan, meta_gradient, steps
from fedmeta.core.model import Model, own_model
from fedmeta.core.optimizers import Optimizer
from fedmeta.core.trees import tree_map, weighted_mean
from fedmeta.core.types import (
    Algorithm,
    Backend,
    Batch,
    ClientId,
    MakeTask,
    MetaParams,
    Params,
    Task,
)

EVALUATION_ROUND = 0  # the round number that evaluation tasks are drawn for


def evaluate_clients(
    algorithm: Algorithm,
    model: Model,
    meta: MetaParams,
    clients: Sequence[ClientId],
    make_task: MakeTask,
    backend: Backend,
    chunk: int | None = None,
) -> Iterator[dict[str, str | int | float]]:
    """Yield a row a client: query scores of the broadcast and of the adapted model.

    Args:
        algorithm: whose ``adapt`` is judged.
        model: whose ``score`` judges.
        meta: trained meta-parameters.
        clients: who, in this order.
        make_task: their data.
        backend: how to go over them.
        chunk: query records passed at once; bounds memory, changes nothing.

    Yields:
        ``client_id, num_support, num_query`` and for each metric of the model's score
        the sums over the query set ``<metric>_sum_before`` and ``<metric>_sum_after``.
    """

    def judge(meta: MetaParams, task: Task) -> dict[str, torch.Tensor]:
        before = _score(model, meta["theta"], task.query, chunk)
        adapted = algorithm.adapt(meta, task.support)
        if adapted is meta["theta"] and algorithm.own_model is None:  # no adaptation
            after = before
        else:
            with torch.no_grad():
                own = own_model(algorithm, model, adapted, task.support)
            after = _score(own, adapted, task.query, chunk)
        return _row(task, sum_before=before, sum_after=after)

    for client, row in backend(judge, make_task)(meta, clients, EVALUATION_ROUND):
        yield {"client_id": client, **_numbers(row)}


def evaluate_fine_tuning(
    model: Model,
    meta: MetaParams,
    clients: Sequence[ClientId],
    make_task: MakeTask,
    backend: Backend,
    *,
    optimizer: Optimizer,
    epochs: Collection[int],
    batch_size: int | None,
    chunk: int | None = None,
) -> Iterator[dict[str, str | int | float]]:
    """Yield a row a client and number of epochs of fine-tuning on its support set.

    A client is tuned once, for the largest number, and scored on the way.

    Args:
        model: whose loss is lowered, and whose ``score`` judges.
        meta: trained meta-parameters, of which theta counts.
        clients: who, in this order.
        make_task: their data.
        backend: how to go over them.
        optimizer: starts fresh on every client.
        epochs: after which numbers of them to score.
        batch_size: records a step; None: the whole support set.
        chunk: records gone through at once; bounds memory, changes nothing.

    Yields:
        ``client_id, epochs, num_support, num_query`` and for each metric of the model's
        score its sum over the query set, ``<metric>_sum``.
    """

    def judge(meta: MetaParams, task: Task) -> dict[int, dict[str, torch.Tensor]]:
        batches = Plan(max(epochs), batch_size).batches(task.support)
        an_epoch = max(1, len(batches) // max(1, *epochs))
        found = {}
        tuned = steps(model.loss, meta["theta"], batches, optimizer, chunk)
        for number, (theta, _) in enumerate(tuned):
            epoch, inside = divmod(number, an_epoch)
            if epoch in epochs and not inside:
                scores = _score(model, theta, task.query, chunk)
                found[epoch] = _row(task, sum=scores)
        return found

    for client, found in backend(judge, make_task)(meta, clients, EVALUATION_ROUND):
        for epoch, row in found.items():
            yield {"client_id": client, "epochs": epoch, **_numbers(row)}


def metrics_of(columns: Iterable[str], ending: str = "_sum_after") -> list[str]:
    """The metrics whose sums are among the columns of scores, in their order.

    >>> metrics_of(["num_query", "loss_sum_before", "loss_sum_after"])
    ['loss']
    """
    return [c.removesuffix(ending) for c in columns if c.endswith(ending)]


def meta_gradient_norm(
    loss: Loss,
    meta: MetaParams,
    clients: Sequence[ClientId],
    make_task: MakeTask,
    backend: Backend,
    *,
    inner_lr: float,
    steps: int = 1,
    chunk: int | None = None,
) -> float:
    """Norm of the gradient of the clients' mean loss after fine-tuning.

    Of F(w) = mean of f_i(w after ``steps`` steps of ``inner_lr`` down f_i), with f_i
    the loss of all of a client's records: what Fallah et al. 2020 bound in theory.

    Args:
        loss: mean loss of a batch.
        meta: where; of its parts theta counts.
        clients: over whom the mean is taken, uniformly.
        make_task: their data.
        backend: how to go over them.
        inner_lr: alpha.
        steps: nu.
        chunk: records differentiated at once; bounds memory, changes nothing.
    """

    def slope(meta: MetaParams, task: Task) -> Params:
        records = everything(task)
        return meta_gradient(
            loss, meta["theta"], [records] * steps, records, inner_lr, chunk=chunk
        ).theta

    one = torch.ones(())
    found = backend(slope, make_task)(meta, clients, EVALUATION_ROUND)
    mean = weighted_mean((one, gradient) for _, gradient in found)
    return float(torch.cat([leaf.flatten() for leaf in mean.values()]).norm())


def _row(task: Task, **scores: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Numbers of a client's records, and sums of scores that are named by their end."""
    row = {"num_support": _size(task.support), "num_query": _size(task.query)}
    for ending, found in scores.items():
        row |= {f"{name}_{ending}": value[0] for name, value in found.items()}
    return row


def _size(batch: Batch) -> torch.Tensor:
    return torch.as_tensor(count(batch)).long()


def _numbers(row: dict[str, torch.Tensor]) -> dict[str, int | float]:
    return {name: value.item() for name, value in row.items()}


@torch.no_grad()
def _score(
    model: Model, params: Params, batch: Batch, chunk: int | None
) -> dict[str, torch.Tensor]:
    scores = [model.score(params, part) for part in slices(batch, chunk)]
    return tree_map(lambda *sums: sum(sums), *scores)
