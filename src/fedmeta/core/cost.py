"""Bytes and floating-point operations of one client update (Chen et al., Figure 3).

Two counts of the operations, which must agree: the analytic one from the model's
forward pass, and one that watches torch at work.
"""

from collections.abc import Callable
from functools import cache
from itertools import count as numbers
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fedmeta.core.compression import Compression
from fedmeta.core.model import ForwardFlops
from fedmeta.core.trees import tree_nbytes
from fedmeta.core.types import Algorithm, Batch, MetaParams, Task, Work

WEIGHT_BYTES = 8  # a client sends its share in the mean beside its update

CountFlops = Callable[[int, int], float]  # (support records, query records) -> FLOPs


def traffic(
    meta: MetaParams, compression: Compression | None = None
) -> tuple[int, int]:
    """Bytes (down, up) of one client in one round; those down are not compressed."""
    # As many as those of an update, which is shaped like the broadcast.
    sent = meta if compression is None else compression.pack(meta)
    return tree_nbytes(meta), tree_nbytes(sent) + WEIGHT_BYTES


def analytic_flops(work: Work, forward: ForwardFlops) -> int:
    """Operations of a client update, from how often it passes records.

    A layer takes one product forward and two backward. A product with the Hessian goes
    backward through that: six more (two for the cotangent of the weight gradient, two
    for that of the input gradient, two for the ordinary backward pass). The first
    layer has no input gradient, which spares it one of three and four of six.
    """
    gradient = 3 * forward.total - forward.first_layer
    hessian_product = 6 * forward.total - 4 * forward.first_layer
    passes = work.gradients * gradient + work.hessian_products * hessian_product
    return passes + work.forward * forward.total


def counted_flops(algorithm: Algorithm, meta: MetaParams, task: Task) -> CountFlops:
    """Operations of a client update, counted while torch computes three small ones.

    The count is linear in the numbers of records, so that three updates on one or two
    records of ``task`` give it for every client. Where batches exceed the chunk and
    gradients are computed again, one more of the smallest such size gives what that
    takes a record. Exact for chunks of 3 records and more.
    """

    def flops(support: int, query: int) -> int:
        with _Counter() as counter:
            algorithm.client_update(meta, _first(task, support, query))
        return counter.total

    base = flops(1, 1)
    per_support, per_query = flops(2, 1) - base, flops(1, 2) - base

    def at_once(work: Work) -> int:
        return base + (work.support - 1) * per_support + (work.query - 1) * per_query

    @cache
    def again() -> float:
        work = next(
            w for w in (algorithm.work(n, 1) for n in numbers(2)) if w.recomputed
        )
        return (flops(work.support, 1) - at_once(work)) / work.recomputed

    def count(support: int, query: int) -> float:
        work = algorithm.work(support, query)
        more = work.recomputed * again() if work.recomputed else 0
        return at_once(work) + more

    return count


class _Counter(TorchDispatchMode):
    """`torch.utils.flop_counter.FlopCounterMode` without its table of modules.

    The method is set below, since torch wraps one that stands in the body so that its
    first call imports torch's compiler, which takes three seconds.
    """

    total = 0


def _counting(
    counter: _Counter, op: Any, types: Any, args: Any = (), kwargs: Any = None
) -> Any:
    kwargs = kwargs or {}
    out = op(*args, **kwargs)
    flops = flop_registry.get(op._overloadpacket)
    counter.total += flops(*args, **kwargs, out_val=out) if flops else 0
    return out


_Counter.__torch_dispatch__ = _counting  # type: ignore[method-assign,assignment]


def _first(task: Task, support: int, query: int) -> Task:
    """A task of the client's first record, repeated."""

    def rows(batch: Batch, size: int) -> Batch:
        x, y = (c[:1].repeat(size, *[1] * (c.ndim - 1)) for c in (batch.x, batch.y))
        return Batch(x, y)

    order = torch.arange(support + query).to(task.orders)
    return task._replace(
        support=rows(task.support, support),
        query=rows(task.query, query),
        orders=order.expand(len(task.orders), -1),
    )
