"""A model as a record of pure functions of its parameters."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from fedmeta.core.gradients import masked_mean, masked_sum
from fedmeta.core.types import Batch, Params


class ForwardFlops(NamedTuple):
    """Floating-point operations of one record's forward pass (2 a multiply-add)."""

    total: int
    # Of the layer that reads the data: its input needs no gradient, so that backward
    # passes cost less there.
    first_layer: int


class Model(NamedTuple):
    """What the algorithms need to know of a neural network.

    No dropout and no batch statistics: ``apply`` is a function of its arguments.
    """

    init: Callable[[int], Params]  # seed -> parameters
    apply: Callable[[Params, Tensor], Tensor]  # [b, *features] -> logits [b, classes]
    loss: Callable[[Params, Batch], Tensor]  # [] mean over real examples
    score: Callable[[Params, Batch], dict[str, Tensor]]  # name -> [2] (sum, count)
    flops: ForwardFlops


def classifier(
    init: Callable[[int], Params],
    apply: Callable[[Params, Tensor], Tensor],
    flops: ForwardFlops,
) -> Model:
    """A classifier under softmax cross-entropy, scored by loss and accuracy."""

    def loss(params: Params, batch: Batch) -> Tensor:
        logits = apply(params, batch.x)
        return masked_mean(
            F.cross_entropy(logits, batch.y, reduction="none"), batch.mask
        )

    def score(params: Params, batch: Batch) -> dict[str, Tensor]:
        logits = apply(params, batch.x)
        losses = F.cross_entropy(logits, batch.y, reduction="none")
        hits = (logits.argmax(-1) == batch.y).to(losses.dtype)
        return {
            "loss": masked_sum(losses, batch.mask),
            "accuracy": masked_sum(hits, batch.mask),
        }

    return Model(init, apply, loss, score, flops)
