"""Logistic regression or a small network for each of many users, trained together.

Users whose batches are of similar size form a group, whose steps are taken at once:
a few large operations where a loop over users would make thousands of small ones. What
comes out for a user does not depend on who else is trained, but for rounding.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedmeta.core.types import ClientId, Params
from fedmeta.models.tabular import tabular
from fedmeta.recommenders.minibatches import draw, side_by_side
from fedmeta.recommenders.stacked import (
    gradient_of,
    outputs_of,
    stack,
    start_level,
    unstack,
)

# Rows of a group's batches: so many that the time goes into arithmetic, so few that
# they and the parameters stay in the processor's cache.
GROUP_ROWS = 4096
SIMILAR = 0.8  # batch sizes, as a part of the largest

Trained = tuple[ClientId, int, Params]  # user, steps, parameters after so many


class User(NamedTuple):
    """Records of known class, and what was drawn for the training on them."""

    client: ClientId
    x: np.ndarray  # [n, inputs] features and a constant 1, whose weight is the bias
    y: np.ndarray  # [n] outputs of their classes
    output: Tensor  # [classes]
    initial: Params
    batches: np.ndarray  # [steps, size] records


def train_together(
    records: Mapping[ClientId, tuple[Tensor, Tensor]],
    *,
    classes: int,
    hidden: int | None = None,
    steps: Sequence[int] = (100, 1_000, 10_000),
    learning_rate: float = 1e-3,
    batch_size: int = 500,
    seed: int = 0,
    workers: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Trained]:
    """Train every user's own model, by Adam on the softmax cross-entropy.

    A batch is ``batch_size`` of a user's records, or half of them, rounded up, where
    that is less; `fedmeta.recommenders.minibatches` says how it is drawn. Records of
    class -1 are left out before that. Who has no others keeps the initial parameters.
    These are `fedmeta.models.tabular.tabular`'s, but for the last weights of classes
    that a user's records never have, which start from zero in a network, too: such
    classes stay equal, and one output computes them all.

    Args:
        records: x [n, features] and y [n] of each user.
        classes: outputs of a model.
        hidden: units of the hidden layer; None: logistic regression.
        steps: after which to report; the largest ends the training.
        learning_rate: of Adam.
        batch_size: records of a batch at most.
        seed: with the user's id, of the initial parameters and of the batches.
        workers: groups at a time, a thread each. It decides nothing that is computed.
        dtype: of the arithmetic.

    Yields:
        (user, steps, parameters of `fedmeta.models.tabular.tabular`); users by groups.
    """
    points = sorted(set(steps))
    known = {client: y[y >= 0].numpy() for client, (_, y) in records.items()}
    sizes = {c: min(batch_size, math.ceil(len(y) / 2)) for c, y in known.items()}
    output = {client: outputs_of(y, classes) for client, y in known.items()}
    widths = {client: 1 + int(of_class.max()) for client, of_class in output.items()}
    stop = Event()

    def user(client: ClientId) -> User:
        x, y = records[client]
        rng = np.random.default_rng([seed, crc32(client.encode())])
        initial = tabular(x.shape[1], classes, hidden).init(int(rng.integers(2**63)))
        initial = start_level(initial, known[client])
        return User(
            client,
            F.pad(x[y >= 0].to(dtype), (0, 1), value=1).numpy(),
            output[client].numpy()[known[client]],
            output[client],
            {name: p.to(dtype) for name, p in initial.items()},
            draw(len(known[client]), sizes[client], points[-1], rng),
        )

    def work(clients: Sequence[ClientId]) -> list[Trained]:
        group = [user(client) for client in clients]
        return list(_train(group, points, learning_rate, stop))

    for trained in _in_order(work, _groups(sizes, widths), workers, stop):
        yield from trained


def _groups(
    sizes: Mapping[ClientId, int], widths: Mapping[ClientId, int]
) -> Iterator[list[ClientId]]:
    """Users of similar batch sizes and, among these, of similar numbers of outputs."""
    left = sorted(sizes, key=lambda client: -sizes[client])
    while left:
        largest = sizes[left[0]]
        similar = [client for client in left if sizes[client] >= SIMILAR * largest]
        left = left[len(similar) :]
        similar.sort(key=lambda client: -widths[client])
        count = max(1, GROUP_ROWS // max(1, largest))
        yield from (similar[i : i + count] for i in range(0, len(similar), count))


def _in_order(
    work: Callable[[list[ClientId]], list[Trained]],
    groups: Iterable[list[ClientId]],
    workers: int,
    stop: Event,
) -> Iterator[list[Trained]]:
    """What comes of each group; no more than a few wait to be taken.

    Closed early, it sets ``stop`` and waits for the groups at work.
    """
    with ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        waiting: deque[Future[list[Trained]]] = deque()
        try:
            for group in groups:
                waiting.append(pool.submit(work, group))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()


def _train(
    users: Sequence[User], points: Sequence[int], learning_rate: float, stop: Event
) -> Iterator[Trained]:
    """`train_together` for one group."""
    output = [user.output for user in users]
    params = stack([user.initial for user in users], output)
    drawn = [user.batches for user in users]
    gradient = gradient_of(params, output, [batches.shape[1] for batches in drawn])
    batches = side_by_side([u.x for u in users], [u.y for u in users], drawn)
    update = _adam(list(params.values()), learning_rate)
    done = 0
    for point in points:
        with torch.inference_mode():
            for step in range(done, point):
                if stop.is_set():
                    return
                slope = gradient(params, batches[step % len(batches)])
                update(list(slope.values()))
        done = point
        for user, own in zip(users, unstack(params, output), strict=True):
            yield user.client, point, own


def _adam(params: list[Tensor], lr: float) -> Callable[[list[Tensor]], None]:
    """Moves ``params`` by a gradient, as `fedmeta.core.optimizers.adam` does.

    Without its trees, which take as long here as the arithmetic.
    """
    means, squares = ([torch.zeros_like(p) for p in params] for _ in range(2))
    step = torch.zeros(())

    def update(gradient: list[Tensor]) -> None:
        step.add_(1)
        torch._fused_adam_(
            params,
            gradient,
            means,
            squares,
            [],
            [step] * len(params),
            lr=lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    return update
