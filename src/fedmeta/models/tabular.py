"""Logistic regression and a network of one hidden layer, for tabular records."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedmeta.core.bounds import Count
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Params


def tabular(features: Count, classes: Count, hidden: Count | None = None) -> Model:
    """The LR and NN of Chen et al. 2018, Table 3: 4,160 and 9,256 parameters.

    Args:
        features: numbers of a record; 103 in the paper.
        classes: 40 in the paper.
        hidden: units of the hidden layer, 64 in the paper; None: logistic regression,
            which starts from zero. The network starts from Glorot's uniform weights.

    Returns:
        Model whose ``apply`` takes records [b, features] to logits [b, classes].
    """
    sizes = [features, classes] if hidden is None else [features, hidden, classes]
    layers = list(zip(sizes, sizes[1:], strict=False))

    def init(seed: int) -> Params:
        generator = torch.Generator().manual_seed(seed)
        params = {}
        for number, (inputs, outputs) in enumerate(layers, 1):
            weight = torch.zeros(outputs, inputs)
            if hidden is not None:
                nn.init.xavier_uniform_(weight, generator=generator)
            params[f"layer{number}.weight"] = weight
            params[f"layer{number}.bias"] = torch.zeros(outputs)
        return params

    def linear(params: Params, number: int, x: Tensor) -> Tensor:
        # Not `fedmeta.models.product`: its overhead outweighs so small a product.
        weight, bias = (params[f"layer{number}.{name}"] for name in ("weight", "bias"))
        return F.linear(x, weight, bias)

    def features_of(params: Params, x: Tensor) -> Tensor:
        for number in range(1, len(layers)):
            x = F.relu(linear(params, number, x))
        return x

    def apply(params: Params, x: Tensor) -> Tensor:
        return linear(params, len(layers), features_of(params, x))

    products = [2 * inputs * outputs for inputs, outputs in layers]
    flops = ForwardFlops(sum(products), products[0])
    return classifier(init, apply, flops, top=4, features=features_of)
