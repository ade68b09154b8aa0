"""A model as a record of pure functions of its parameters."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fedmeta.core.gradients import masked_mean, masked_sum
from fedmeta.core.types import Algorithm, Batch, Params


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
    # (logits, batch) -> each metric's name -> [2] (sum, count)
    judge: Callable[[Tensor, Batch], dict[str, Tensor]]
    flops: ForwardFlops
    # [b, *features] -> [b, h] what the last layer reads; None: it is not known
    features: Callable[[Params, Tensor], Tensor] | None = None

    def score(self, params: Params, batch: Batch) -> dict[str, Tensor]:
        """``judge`` of the model's own logits: each metric's [2] (sum, count)."""
        return self.judge(self.apply(params, batch.x), batch)


def own_model(
    algorithm: Algorithm, model: Model, adapted: Params, support: Batch
) -> Model:
    """The model that a client uses with the parameters that it has adapted."""
    if algorithm.own_model is None:
        return model
    own: Model = algorithm.own_model(model, adapted, support)
    return own


def classifier(
    init: Callable[[int], Params],
    apply: Callable[[Params, Tensor], Tensor],
    flops: ForwardFlops,
    top: int | None = None,
    features: Callable[[Params, Tensor], Tensor] | None = None,
) -> Model:
    """A classifier under softmax cross-entropy, scored by loss and accuracy.

    A record of class -1 has no right answer: it teaches nothing and is never hit. Nor
    is a record of which any logit is not finite; its loss stays what it is.

    Args:
        init: seed -> parameters.
        apply: parameters, inputs -> logits.
        flops: of the forward pass.
        top: also score whether the class is among so many of the highest logits, as
            "top<number>".
        features: parameters, inputs -> what the last layer reads, [b, h].
    """

    def losses(logits: Tensor, y: Tensor) -> Tensor:
        try:
            return F.cross_entropy(logits, y, reduction="none", ignore_index=-1)
        except IndexError:
            raise ValueError(
                f"a record is of class {int(y.max())}, counted from 0, but the model"
                f" has {logits.shape[-1]} classes"
            ) from None

    def loss(params: Params, batch: Batch) -> Tensor:
        return masked_mean(losses(apply(params, batch.x), batch.y), batch.mask)

    def judge(logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        hits = {"accuracy": logits.argmax(-1) == batch.y}
        if top is not None:
            hits[f"top{top}"] = among_highest(logits, batch.y, top)
        # Else a diverged model would score the share of the class that is first.
        ranked = logits.isfinite().all(-1)
        return {
            "loss": masked_sum(losses(logits, batch.y), batch.mask),
            **{
                name: masked_sum((hit & ranked).to(logits.dtype), batch.mask)
                for name, hit in hits.items()
            },
        }

    return Model(init, apply, loss, judge, flops, features)


def among_highest(scores: Tensor, y: Tensor, count: int) -> Tensor:
    """[b] whether class ``y`` [b] is among the ``count`` highest of scores [b, c].

    Of equal scores the first counts as higher, as for ``argmax``. Class -1 never is.
    """
    own = scores.gather(-1, y.clamp(min=0)[:, None])
    earlier = torch.arange(scores.shape[-1], device=y.device) < y[:, None]
    # Not "higher": scores that are no numbers compare with nothing, and are a miss.
    lower = (scores < own) | ((scores == own) & ~earlier)
    return ((~lower).sum(-1) < count) & (y >= 0)
