"""Products over many steps of a sequence at once, for the passes of an LSTM layer.

Shapes as in `fedmeta.models.lstm_passes`: * stands for no dimension or for one of
clients; t steps, b rows.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fedmeta.models.product import HAS_ONEDNN, product

# Rows of several steps that are multiplied at once: enough for the full rate of a CPU,
# few enough that the result is still in its cache when the steps come to it.
ROWS = 256
# Entries of a matrix from which it pays to bring it into oneDNN's own layout first.
WORTH_PACKING = 2**17


def in_blocks(
    terms: list[tuple[Tensor, Callable[[Tensor], Tensor]]], bias: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """By blocks of steps, the sum of [*, t, b, k] each times a matrix, and the bias."""
    *_, steps, rows, _ = terms[0][0].shape
    size = max(1, ROWS // rows)
    for start in range(0, steps, size):
        now = slice(start, min(start + size, steps))
        first, *others = (
            multiply(cut(slab, now, slab.ndim - 3).flatten(-3, -2))
            for slab, multiply in terms
        )
        for other in others:
            first.add_(other)
        first.add_(bias.unsqueeze(-2))
        yield now, first.unflatten(-2, (-1, rows))


def multiplier(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that multiplies many [*, n, k] with the same ``matrix`` [*, k, m]."""
    if (
        HAS_ONEDNN
        and matrix.ndim == 2
        and matrix.numel() >= WORTH_PACKING
        and matrix.device.type == "cpu"
        and matrix.dtype == torch.float32
    ):
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix.mT)
        multiply = torch.ops.mkldnn._linear_pointwise.default
        return lambda a: multiply(a, packed, None, "none", [], "")
    return lambda a: torch.matmul(a, matrix)


def times(a: Tensor, matrix: Tensor) -> Tensor:
    """[*, t, b, k] times [*, k, m]: [*, t, b, m]."""
    rows = a.flatten(-3, -2)
    y = product(rows, matrix.mT) if rows.ndim == 2 else rows @ matrix
    return y.unflatten(-2, a.shape[-3:-1])


def outer(a: Tensor, b: Tensor) -> Tensor:
    """[*, t, b, m] and [*, t, b, k]: [*, m, k], summed over steps and rows."""
    a, b = a.flatten(-3, -2), b.flatten(-3, -2)
    if a.ndim == 2:  # oneDNN is faster this way round
        return product(b.mT, a.mT).mT.contiguous()
    return a.mT @ b


def cut(slab: Tensor, now: slice, time: int) -> Tensor:
    """Some steps of a slab; ``time``: which of its dimensions is that of steps."""
    return slab.narrow(time, now.start, now.stop - now.start)


def backwards(slabs: tuple[Tensor, ...], time: int) -> Iterator[tuple[Tensor, ...]]:
    """The steps of slabs together, from the last to the first."""
    return zip(*(reversed(slab.unbind(time)) for slab in slabs), strict=True)
