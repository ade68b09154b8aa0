"""A network of fully connected layers with ELU.

Fallah et al. 2020 (https://arxiv.org/abs/2002.07948) take two hidden layers, of 80 and
60 units. ELU has a continuous derivative, ReLU has not: their theory asks for a loss
with one.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from fedmeta.core.bounds import Count
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Params
from fedmeta.models.cnn import INITIALIZATIONS


def mlp(
    hidden: Sequence[Count] = (80, 60), classes: Count = 62, features: Count = 784
) -> Model:
    """Per-FedAvg's network: 71,442 parameters by default, 68,270 for ten classes.

    Args:
        hidden: units of each hidden layer, in the order of the data.
        classes: number of labels.
        features: numbers of a record.

    Returns:
        Model whose ``apply`` takes records [b, ...] of any shape to logits
        [b, classes]. Starts as ``torch.nn.Linear`` does.
    """
    names = [*(f"hidden{number}" for number in range(1, len(hidden) + 1)), "classifier"]
    layers = dict(zip(names, pairwise([features, *hidden, classes]), strict=True))

    def init(seed: int) -> Params:
        # Drawn on the CPU: the same weights on every device.
        generator = torch.Generator().manual_seed(seed)
        params: Params = {}
        for layer, (inputs, outputs) in layers.items():
            weight, bias = torch.empty(outputs, inputs), torch.empty(outputs)
            INITIALIZATIONS["pytorch"](weight, bias, generator)
            params |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
        return params

    def linear(params: Params, layer: str, x: Tensor) -> Tensor:
        # Not `fedmeta.models.product`: its overhead outweighs so small a product.
        return F.linear(x, params[f"{layer}.weight"], params[f"{layer}.bias"])

    def features_of(params: Params, x: Tensor) -> Tensor:
        x = x.reshape(len(x), features)
        for layer in names[:-1]:
            x = F.elu(linear(params, layer, x))
        return x

    def apply(params: Params, x: Tensor) -> Tensor:
        return linear(params, "classifier", features_of(params, x))

    products = [2 * inputs * outputs for inputs, outputs in layers.values()]
    flops = ForwardFlops(sum(products), products[0])
    return classifier(init, apply, flops, features=features_of)
