"""Layers of a weight and a bias: how they start, and networks of nothing else."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Params

# Fills the weight and the bias of a layer.
Initialize = Callable[[Tensor, Tensor, Generator], None]


def initial(
    shapes: Mapping[str, tuple[int, ...]], initialize: Initialize, generator: Generator
) -> Params:
    """Weights of these shapes and a bias for each, layer by layer."""
    params: Params = {}
    for layer, shape in shapes.items():
        weight, bias = torch.empty(shape), torch.empty(shape[0])
        initialize(weight, bias, generator)
        params |= {f"{layer}.weight": weight, f"{layer}.bias": bias}
    return params


def linear(params: Params, layer: str, x: Tensor) -> Tensor:
    """[b, i] -> [b, o]."""
    # Not `fedmeta.models.product`: its overhead outweighs so small a product.
    return F.linear(x, params[f"{layer}.weight"], params[f"{layer}.bias"])


def fully_connected(
    shapes: Mapping[str, tuple[int, int]],
    initialize: Initialize,
    activation: Callable[[Tensor], Tensor],
    top: int | None = None,
) -> Model:
    """Linear layers with an activation between each two.

    Args:
        shapes: outputs and inputs of each layer, in the order of the data.
        initialize: of each layer.
        activation: of all layers but the last.
        top: as of `fedmeta.core.model.classifier`.
    """
    *before, last = shapes

    def init(seed: int) -> Params:
        # Drawn on the CPU: the same weights on every device.
        return initial(shapes, initialize, torch.Generator().manual_seed(seed))

    def features_of(params: Params, x: Tensor) -> Tensor:
        _, inputs = next(iter(shapes.values()))
        x = x.reshape(len(x), inputs)
        for layer in before:
            x = activation(linear(params, layer, x))
        return x

    def apply(params: Params, x: Tensor) -> Tensor:
        return linear(params, last, features_of(params, x))

    products = [2 * math.prod(shape) for shape in shapes.values()]
    flops = ForwardFlops(sum(products), products[0])
    return classifier(init, apply, flops, top, features_of)
