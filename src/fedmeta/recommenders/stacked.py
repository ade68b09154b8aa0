"""The models of many users as one: parameters stacked, gradients written by hand.

Of `fedmeta.models.tabular.tabular`, without a hidden layer or with one. Two things make
a step cheap, and neither changes what it computes:

- The first layer costs a record as many rows of weights as it has inputs other than
  zero, a tenth of all where records are multi-hot. So does its gradient.
- Classes that a user's records never have are told apart by nothing. Where their
  weights start equal they stay so, and one output stands for all of them: with the
  logarithm of their number in its bias it has their share in the softmax, and its
  gradient is that of each times their number.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fedmeta.core.types import Params
from fedmeta.recommenders.minibatches import PaddedBatch

LOG2_E = math.log2(math.e)
# Named to the overload: finding it takes longer than the work.
_relu_backward = torch.ops.aten.threshold_backward.grad_input

Gradient = Callable[[Params, PaddedBatch], Params]


def outputs_of(y: np.ndarray, classes: int) -> Tensor:
    """[classes] the output of each class; those not in ``y`` share the last one."""
    used = np.unique(y)
    output = torch.full((classes,), len(used))
    output[used] = torch.arange(len(used))
    return output


def start_level(params: Params, y: np.ndarray) -> Params:
    """The same, with the last weights of classes not in ``y`` set to zero."""
    last = f"{_last_layer(params)}.weight"
    weight = torch.zeros_like(params[last])
    used = np.unique(y)
    weight[used] = params[last][used]
    return {**params, last: weight}


def stack(params: Sequence[Params], outputs: Sequence[Tensor]) -> Params:
    """Parameters of all users, as `gradient_of` takes them.

    Args:
        params: of each user; classes that share an output are equal.
        outputs: of each user, from `outputs_of`.

    Returns:
        "first" [users * inputs, m], the bias being the last input; if there is a hidden
        layer also "weight" [users, outputs, m] and "bias" [users, outputs, 1].
    """
    last = _last_layer(params[0])
    weights = [p[f"{last}.weight"] for p in params]
    biases = [p[f"{last}.bias"] for p in params]
    count = _multiplicity(outputs)
    weight = weights[0].new_zeros(*count.shape, weights[0].shape[1])
    bias = count.to(weight).log()  # -inf: no class
    for user, output in enumerate(outputs):
        weight[user, output] = weights[user]
        bias[user, output] += biases[user]
    if last == "layer1":
        first = torch.cat([weight.mT, bias[:, None]], dim=1)
        return {"first": first.flatten(0, 1)}
    firsts = [torch.cat([p["layer1.weight"].T, p["layer1.bias"][None]]) for p in params]
    return {"first": torch.cat(firsts), "weight": weight, "bias": bias[..., None]}


def unstack(stacked: Params, outputs: Sequence[Tensor]) -> Iterator[Params]:
    """A copy of each user's parameters, with an output for each class again."""
    log_count = _multiplicity(outputs).to(stacked["first"]).log()
    for user, first in enumerate(stacked["first"].unflatten(0, (len(outputs), -1))):
        layers = [(first[:-1].T, first[-1])]
        if "weight" in stacked:
            layers.append((stacked["weight"][user], stacked["bias"][user, :, 0]))
        weight, bias = layers.pop()
        of_class = outputs[user]
        layers.append((weight[of_class], (bias - log_count[user])[of_class]))
        yield {
            f"layer{number}.{name}": p.clone()
            for number, layer in enumerate(layers, 1)
            for name, p in zip(("weight", "bias"), layer, strict=True)
        }


def gradient_of(
    stacked: Params, outputs: Sequence[Tensor], sizes: Sequence[int]
) -> Gradient:
    """The gradient of every user's mean cross-entropy, as a function of all parameters.

    The classes of a batch are given by their outputs.

    Args:
        stacked: parameters, for their type and whether there is a hidden layer.
        outputs: of each user.
        sizes: records in the batches of each user; the other rows are padding.
    """
    linear = "weight" not in stacked
    size = torch.tensor(sizes)[:, None]
    known = torch.arange(int(size.max())) < size  # [users, rows]
    shares = (known / size.clamp(min=1)).to(stacked["first"])
    # Behind a hidden layer classes come before rows: sums over them are cheaper so.
    class_dim = 2 if linear else 1
    shares = shares.unsqueeze(class_dim)
    minus_shares = -shares
    of_one = 1 / _multiplicity(outputs).clamp(min=1).to(shares)  # [users, outputs]

    def residual(bits: Tensor, y: Tensor) -> Tensor:
        """Softmax - one-hot, times the record's share in the mean; in place.

        Args:
            bits: logits to the base of 2, whose exponential takes a third of the time.
            y: outputs [users, rows].
        """
        bits.sub_(bits.amax(class_dim, keepdim=True)).exp2_()
        bits.mul_(shares / bits.sum(class_dim, keepdim=True))
        return bits.scatter_add_(class_dim, y.unsqueeze(class_dim), minus_shares)

    def linear_gradient(params: Params, batch: PaddedBatch) -> Params:
        bits = (batch.x @ params["first"]).mul_(LOG2_E)  # [users * rows, outputs]
        slope = residual(bits.view(*known.shape, bits.shape[1]), batch.y)
        first = batch.x_transposed @ slope.flatten(0, 1)
        first.view(len(known), -1, first.shape[1]).mul_(of_one[:, None])
        return {"first": first}

    def network_gradient(params: Params, batch: PaddedBatch) -> Params:
        weight, bias = params["weight"], params["bias"]
        hidden = (batch.x @ params["first"]).relu_()
        hidden = hidden.view(*known.shape, hidden.shape[1])  # [users, rows, m]
        bits = torch.baddbmm(bias, weight, hidden.mT, beta=LOG2_E, alpha=LOG2_E)
        slope = residual(bits, batch.y)  # [users, outputs, rows]
        back = torch.bmm(slope.mT, weight)  # [users, rows, m]
        _relu_backward(back, hidden, 0, grad_input=back)
        return {
            "first": batch.x_transposed @ back.flatten(0, 1),
            "weight": torch.bmm(slope, hidden).mul_(of_one[..., None]),
            "bias": slope.sum(2, keepdim=True).mul_(of_one[..., None]),
        }

    return linear_gradient if linear else network_gradient


def _last_layer(params: Params) -> str:
    return "layer2" if "layer2.weight" in params else "layer1"


def _multiplicity(outputs: Sequence[Tensor]) -> Tensor:
    """[users, outputs] the number of classes of each output."""
    width = 1 + max(int(output.max()) for output in outputs)
    return torch.stack([output.bincount(minlength=width) for output in outputs])
