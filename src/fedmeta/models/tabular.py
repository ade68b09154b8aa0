"""Logistic regression and a network of one hidden layer, for tabular records."""

from torch import Generator, Tensor, nn
from torch.nn import functional as F

from fedmeta.core.bounds import Count
from fedmeta.core.model import Model
from fedmeta.models.layers import fully_connected


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
    if hidden is None:
        return fully_connected({"layer1": (classes, features)}, _zeros, F.relu, top=4)
    shapes = {"layer1": (hidden, features), "layer2": (classes, hidden)}
    return fully_connected(shapes, _glorot, F.relu, top=4)


def _zeros(weight: Tensor, bias: Tensor, generator: Generator) -> None:
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)


def _glorot(weight: Tensor, bias: Tensor, generator: Generator) -> None:
    nn.init.xavier_uniform_(weight, generator=generator)
    nn.init.zeros_(bias)
