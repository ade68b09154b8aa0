"""Gradient and Hessian-vector product of a loss: exact, with bounded memory.

A loss is a mean over examples, so its gradient is the mean of the gradients of chunks,
weighted by their number of examples, and so is the product of its Hessian with a
vector. Chunks bound the memory for activations and never change the result.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vjp

from fedmeta.core.foresight import second_order
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Batch, Params

Loss = Callable[[Params, Batch], Tensor]  # [] mean over the real examples of a batch
HessianProduct = Callable[[Params], Params]


def count(batch: Batch) -> Tensor | int:
    """[] real examples in a batch."""
    return len(batch.y) if batch.mask is None else batch.mask.sum()


def counts(*batches: Batch) -> Tensor | None:
    """[] 1 if each batch has an example, else 0; None where none of them is padded.

    A client that was padded to another's number of batches has some without any.
    """
    masks = [batch.mask for batch in batches if batch.mask is not None]
    if not masks:
        return None
    return torch.stack([mask.any() for mask in masks]).all().to(masks[0].dtype)


def slices(batch: Batch, size: int | None) -> Iterator[Batch]:
    """Successive slices of at most ``size`` rows; None: the batch as a whole."""
    rows = len(batch.y)
    if size is None or rows <= size:
        yield batch
        return
    for start in range(0, rows, size):
        yield batch.map(itemgetter(slice(start, start + size)))


def _shares(batch: Batch, chunk: int | None) -> Iterator[tuple[Batch, Tensor | float]]:
    """Chunks of a batch with their shares in its mean."""
    total = count(batch)
    if isinstance(total, Tensor):
        total = total.clamp(min=1)
    for part in slices(batch, chunk):
        yield part, count(part) / total


def _add_scaled(total: Params, part: Params, share: Tensor | float) -> Params:
    """``total + share * part``, in the memory of ``total`` unless that is empty."""
    if not total:
        return tree_map(lambda p: p * share, part)
    return tree_map(lambda t, p: t.add_(p * share), total, part)


def gradient_and_loss(
    loss: Loss, params: Params, batch: Batch, chunk: int | None = None
) -> tuple[Params, Tensor]:
    """Gradient of the mean loss, and that loss.

    Args:
        loss: mean loss of a batch.
        params: where.
        batch: on what.
        chunk: records differentiated at once; None: all.
    """
    if chunk is None or len(batch.y) <= chunk:
        return _gradient_and_loss(loss, params, batch)
    gradient: Params = {}
    value = torch.zeros(())
    for part, share in _shares(batch, chunk):
        part_gradient, part_value = _gradient_and_loss(loss, params, part)
        gradient = _add_scaled(gradient, part_gradient, share)
        value = value + part_value * share
    return gradient, value


def gradient_and_hessian(
    loss: Loss, params: Params, batch: Batch, chunk: int | None = None
) -> tuple[Params, HessianProduct]:
    """Gradient of the mean loss, and the function ``v -> H v`` of its Hessian there.

    A batch of at most ``chunk`` records keeps the graph of its gradient for the
    product, which may be taken once (9 forward passes in all for the two); a larger
    one computes it anew chunk by chunk (12), so that memory depends on ``chunk`` and
    not on the client's size.
    """
    if not recomputed(len(batch.y), chunk):
        return _gradient_and_hessian(loss, params, batch)
    gradient, _ = gradient_and_loss(loss, params, batch, chunk)
    return gradient, hessian_product(loss, params, batch, chunk)


def hessian_product(
    loss: Loss, params: Params, batch: Batch, chunk: int | None = None
) -> HessianProduct:
    """The function ``v -> H v`` of a batch's Hessian, which computes it chunk by chunk.

    It takes 9 forward passes each time.
    """

    def product(vector: Params) -> Params:
        total: Params = {}
        for part, share in _shares(batch, chunk):
            partial = _gradient_and_hessian(loss, params, part)[1](vector)
            total = _add_scaled(total, partial, share)
        return total

    return product


def recomputed(size: int, chunk: int | None) -> int:
    """Number of records whose gradient `gradient_and_hessian` computes twice."""
    return size if chunk is not None and size > chunk else 0


# A batch with a mask was padded to be worked on under vmap, where torch.func alone can
# differentiate. Elsewhere torch.autograd does the same with milliseconds less overhead.


def _gradient_and_loss(
    loss: Loss, params: Params, batch: Batch
) -> tuple[Params, Tensor]:
    if batch.mask is not None:
        return grad_and_value(loss)(params, batch)
    leaves = _leaves(params)
    value = loss(leaves, batch)
    return _grads(value, leaves), value.detach()


def _gradient_and_hessian(
    loss: Loss, params: Params, batch: Batch
) -> tuple[Params, HessianProduct]:
    # The Hessian is symmetric: the vector-Jacobian product of the gradient is H v.
    if batch.mask is not None:
        slope, pullback, *_ = vjp(lambda p: grad(loss)(p, batch), params)
        return slope, lambda vector: pullback(vector)[0]
    leaves = _leaves(params)
    with second_order():
        value = loss(leaves, batch)
    gradient = _grads(value, leaves, create_graph=True)

    # A slope that does not depend on the parameters, of a linear loss, has no graph.
    curved = [name for name, slope in gradient.items() if slope.requires_grad]

    def product(vector: Params) -> Params:
        if not curved:
            return {name: torch.zeros_like(p) for name, p in params.items()}
        slopes, cotangents = ([tree[n] for n in curved] for tree in (gradient, vector))
        return _grads(slopes, leaves, grad_outputs=cotangents)

    return {name: slope.detach() for name, slope in gradient.items()}, product


def _leaves(params: Params) -> Params:
    return {name: p.detach().requires_grad_() for name, p in params.items()}


def _grads(outputs: Tensor | list[Tensor], leaves: Params, **kwargs: Any) -> Params:
    """Gradients by name; zero where the outputs do not depend on a leaf."""
    found = torch.autograd.grad(
        outputs, list(leaves.values()), materialize_grads=True, **kwargs
    )
    return dict(zip(leaves, found, strict=True))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """[] mean of ``values`` [b] over real rows; 0 where there is none."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp(min=1)


def masked_sum(values: Tensor, mask: Tensor | None) -> Tensor:
    """[2] (sum of ``values`` [b] over real rows, number of real rows)."""
    if mask is None:
        return torch.stack([values.sum(), values.new_tensor(float(len(values)))])
    return torch.stack([(values * mask).sum(), mask.sum()])
