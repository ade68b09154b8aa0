"""NN-unified, the mixed method of Table 3: one network for all users, then fine-tuned.

It reads a record's features, a one-hot of its user and one of the service used before,
and scores all services (Chen et al. 2018, https://arxiv.org/abs/1802.07876). At the
paper's size that is 11,892-64-2,420, 918,452 parameters. It is pre-trained on the
training users' records in one place and fine-tuned on each test user's support set.

The one-hots are never made: each picks a row of the first layer's weights. A step
changes only the rows that it picks, so that fine-tuning takes along the rows of one
user and leaves the others where they are (`part_of`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from fedmeta.core.gradients import gradient_and_loss
from fedmeta.core.optimizers import adam
from fedmeta.core.trees import is_finite, tree_clone
from fedmeta.core.types import (
    Batch,
    ClientId,
    Diverged,
    Divergence,
    Params,
    ServerState,
)
from fedmeta.recommenders.ranking import top_k_hits


class Records(NamedTuple):
    """Records of one user, in order. Services are numbered over all users."""

    x: Tensor  # [n, features] float32
    service: Tensor  # [n] int64, the label
    previous: Tensor  # [n] int64, the service used before; -1: none


RecordsOf = Callable[[ClientId], Records]


def initial(
    seed: int, *, features: int, users: int, services: int, hidden: int = 64
) -> Params:
    """Glorot-uniform weights and zero biases.

    Args:
        seed: of the weights, drawn on the CPU.
        features: of a record, user and previous service not counted.
        users: training and test users together.
        services: of all users.
        hidden: units of the hidden layer.

    Returns:
        "features.weight" [features, h], "user.weight" [users, h] and "previous.weight"
        [services, h], together the first layer; "hidden.bias" [h]; "output.weight"
        [services, h] and "output.bias" [services].
    """
    generator = torch.Generator().manual_seed(seed)

    def glorot(rows: int, fan_in: int, fan_out: int) -> Tensor:
        bound = math.sqrt(6 / (fan_in + fan_out))
        return torch.empty(rows, hidden).uniform_(-bound, bound, generator=generator)

    inputs = features + users + services
    return {
        "features.weight": glorot(features, inputs, hidden),
        "user.weight": glorot(users, inputs, hidden),
        "previous.weight": glorot(services, inputs, hidden),
        "hidden.bias": torch.zeros(hidden),
        "output.weight": glorot(services, hidden, services),
        "output.bias": torch.zeros(services),
    }


def logits(params: Params, x: Tensor, user: int | Tensor, previous: Tensor) -> Tensor:
    """[b, services] from ``x`` [b, features], ``user`` [] or [b], ``previous`` [b]."""
    hidden = x @ params["features.weight"] + params["hidden.bias"]  # [b, h]
    hidden = hidden + params["user.weight"][user]
    known = (previous >= 0).nonzero().squeeze(1)
    rows = F.embedding(previous[known], params["previous.weight"])
    hidden = F.relu(hidden.index_add(0, known, rows))
    return F.linear(hidden, params["output.weight"], params["output.bias"])


def pretrain(
    state: ServerState,
    clients: Sequence[ClientId],
    records_of: RecordsOf,
    user_of: Mapping[ClientId, int],
    *,
    steps: int = 80_000,
    batch_size: int = 500,
    lr: float = 1e-3,
    seed: int = 0,
    report_every: int = 1_000,
) -> Iterator[tuple[int, ServerState, dict[str, Tensor]]]:
    """Adam on batches of one random training user each.

    The user of a step and the records of its batch follow from ``seed`` and the step
    alone, so that going on from a yielded state ends as an unbroken training would.

    Args:
        state: where to start, of ``theta_only(adam(lr))``, or to go on.
        clients: the training users; their order counts.
        records_of: a user's records; called once a step.
        user_of: number of each user, the row of "user.weight".
        steps: at which to end, counted from the start of the training.
        batch_size: records at most; half of the user's where these are fewer.
        lr: Adam's step size.
        seed: of users and records.
        report_every: steps between the states yielded; the last is always.

    Yields:
        (step, state after it, "loss": [2] (sum, count) over the records since the last
        one yielded). The state is a copy, and finite.

    Raises:
        Diverged: where the state to be yielded would not be finite.
    """
    optimizer = adam(lr)
    meta, opt_state = tree_clone(state.meta), tree_clone(state.opt_state)
    seen = torch.zeros(2)
    for step in range(state.round + 1, steps + 1):
        rng = np.random.default_rng([seed, step])
        client = clients[int(rng.integers(len(clients)))]
        batch = _drawn(Records(*records_of(client)), batch_size, rng)
        gradient, loss = _gradient_and_loss(meta["theta"], batch, user_of[client])
        meta, opt_state = optimizer.update({"theta": gradient}, opt_state, meta, None)
        size = len(batch.service)
        seen = seen + torch.stack([loss * size, loss.new_tensor(size)])
        if step % report_every == 0 or step == steps:
            if not is_finite([meta, opt_state, seen]):
                raise Diverged(Divergence(step, "", "state"))
            copy = ServerState(tree_clone(meta), tree_clone(opt_state), step)
            yield step, copy, {"loss": seen}
            seen = torch.zeros(2)


def fine_tune(
    params: Params,
    support: Records,
    user: int,
    rng: np.random.Generator,
    *,
    steps: int = 100,
    batch_size: int = 500,
    lr: float = 1e-3,
) -> Params:
    """Parameters after ``steps`` of a fresh Adam on batches of the support set.

    Batches are as in `pretrain`.
    """
    optimizer = adam(lr)
    params = tree_clone(params)
    opt_state = optimizer.init(params)
    for _ in range(steps):
        batch = _drawn(support, batch_size, rng)
        gradient, _ = _gradient_and_loss(params, batch, user)
        params, opt_state = optimizer.update(gradient, opt_state, params, None)
    return params


def part_of(params: Params, user: int, previous: Tensor) -> tuple[Params, Tensor]:
    """What records of one user, with these previous services, touch of the network.

    Fine-tuning the part gives the numbers that fine-tuning the whole does: under a
    fresh Adam, rows whose gradient is always zero stay where they are.

    Returns:
        Parameters with the rows of these services and of one user, number 0; and
        ``previous`` [n] renumbered accordingly.
    """
    services = previous[previous >= 0].unique()
    renumbered = torch.where(previous < 0, -1, torch.searchsorted(services, previous))
    rows = {
        "user.weight": params["user.weight"][[user]],
        "previous.weight": params["previous.weight"][services],
    }
    return {**params, **rows}, renumbered


def score(params: Params, query: Records, user: int) -> tuple[int, int, float]:
    """Records whose service is the highest and among the four highest scored; the loss.

    The loss is the sum of their cross-entropies.
    """
    with torch.no_grad():
        scored = logits(params, query.x, user, query.previous)
        loss = F.cross_entropy(scored, query.service, reduction="sum")
    top1, top4 = top_k_hits(scored.numpy(), query.service.numpy(), (1, 4)).sum(axis=0)
    return int(top1), int(top4), float(loss)


def scores(
    params: Params,
    splits: pd.DataFrame,
    records_of: RecordsOf,
    user_of: Mapping[ClientId, int],
    *,
    steps: int = 100,
    batch_size: int = 500,
    lr: float = 1e-3,
    seed: int = 0,
    workers: int = 1,
) -> pd.DataFrame:
    """Fine-tune on each support set, and count the hits among the query records.

    Args:
        params: pre-trained.
        splits: `client_id`, `support_fraction`, `num_support`, `num_query`: a user's
            first records are support, the last ones query.
        records_of: a test user's records; called from threads.
        user_of: number of each user. Rows of test users are as they were initialised.
        steps: of fine-tuning; 0: none.
        batch_size: as in `pretrain`.
        lr: Adam's step size.
        seed: with the user's id, of the batches.
        workers: users at a time, a thread each; give torch one thread then. It decides
            nothing that is computed.

    Returns:
        ``splits`` with `steps`, `top1` and `top4` (hits), and `loss_sum`.
    """

    def work(row: Any) -> tuple[int, int, float]:
        records = Records(*records_of(row.client_id))
        part, previous = part_of(params, user_of[row.client_id], records.previous)
        records = records._replace(previous=previous)
        first_query = len(previous) - row.num_query
        support = Records(*(column[: row.num_support] for column in records))
        query = Records(*(column[first_query:] for column in records))
        rng = np.random.default_rng([seed, crc32(row.client_id.encode())])
        tuned = fine_tune(
            part, support, 0, rng, steps=steps, batch_size=batch_size, lr=lr
        )
        return score(tuned, query, 0)

    with ThreadPoolExecutor(workers) as pool:
        counted = list(pool.map(work, splits.itertuples()))
    names = ["top1", "top4", "loss_sum"]
    found = pd.DataFrame(counted, index=splits.index, columns=names)
    return splits.assign(steps=steps).join(found)


def _drawn(records: Records, batch_size: int, rng: np.random.Generator) -> Records:
    """min(batch_size, half of them, rounded up) different records."""
    count = len(records.service)
    size = min(batch_size, math.ceil(count / 2))
    rows = torch.from_numpy(rng.choice(count, size, replace=False, shuffle=False))
    return Records(*(column[rows] for column in records))


def _gradient_and_loss(
    params: Params, batch: Records, user: int
) -> tuple[Params, Tensor]:
    """Of the mean cross-entropy of a batch."""

    def loss(params: Params, labelled: Batch) -> Tensor:
        return F.cross_entropy(
            logits(params, labelled.x, user, batch.previous), labelled.y
        )

    return gradient_and_loss(loss, params, Batch(batch.x, batch.service))
