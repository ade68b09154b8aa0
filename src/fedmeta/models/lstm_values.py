"""What the passes of an LSTM layer take and leave; shapes as in `lstm_passes`."""

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """Of one layer; also a direction in their space, or a gradient."""

    inputs: Tensor  # [*, 4h, i]
    recurrent: Tensor  # [*, 4h, h]
    bias: Tensor  # [*, 4h]


class History(NamedTuple):
    """What the forward pass leaves to the backward passes."""

    hidden: Tensor  # [*, t + 1, b, h], zero before the first step
    gates: Tensor  # [*, t, b, 4, h]
    slopes: Tensor  # [*, t, b, 4, h]
    squashed: Tensor  # [*, t, b, h] tanh of the cell
    from_cell: Tensor  # [*, t, b, h] dh/dc


class Sources(NamedTuple):
    """Cotangents of what the forward pass computed, where they enter."""

    hidden: Tensor  # [*, t, b, h]
    z: Tensor | None = None  # [*, t, b, 4, h]
    c: Tensor | None = None  # [*, t, b, h]


class Cotangents(NamedTuple):
    """The same, with all that comes back from later steps."""

    z: Tensor  # [*, t, b, 4, h]
    c: Tensor  # [*, t, b, h]
    h: Tensor  # [*, t, b, h]
