"""A network of fully connected layers with ELU.

Fallah et al. 2020 (https://arxiv.org/abs/2002.07948) take two hidden layers, of 80 and
60 units. ELU has a continuous derivative, ReLU has not: their theory asks for a loss
with one.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch.nn import functional as F

from fedmeta.core.bounds import Count
from fedmeta.core.model import Model
from fedmeta.models.cnn import initialize_by
from fedmeta.models.layers import fully_connected


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
    sizes = pairwise([features, *hidden, classes])
    shapes = {
        name: (outputs, inputs)
        for name, (inputs, outputs) in zip(names, sizes, strict=True)
    }
    return fully_connected(shapes, initialize_by("pytorch"), F.elu)
