"""oneDNN's LSTM layer for float32 on a CPU, as torch ships it: value and gradient.

It has no second derivative (torch's own rule for that is slower than writing the layer
out), but up to twice the speed of separate operations on small batches.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from fedmeta.models.lstm_values import Weights

LSTM_MODE = 2  # of torch's RNN modes


class FusedHistory(NamedTuple):
    """What the forward pass leaves to the backward pass."""

    hidden: Tensor  # [t, b, h]
    last_hidden: Tensor  # [b, h]
    last_cell: Tensor  # [b, h]
    workspace: Tensor  # bytes in a layout of oneDNN's own


def can_fuse(x: Tensor) -> bool:
    """Whether there is a fused layer for such an input."""
    return HAS_FUSED and x.device.type == "cpu" and x.dtype == torch.float32


def fused_states(x: Tensor, weights: Weights) -> Tensor:
    """[t, b, i] -> [t, b, h], keeping nothing for a derivative."""
    with torch.no_grad():
        return _run(x, weights)[0]


def fused_forward(x: Tensor, weights: Weights) -> FusedHistory:
    """The history of a layer that reads ``x`` [t, b, i]."""
    with torch.enable_grad():  # without, oneDNN would leave no workspace
        return FusedHistory(*_run(x.detach(), Weights(*(w.detach() for w in weights))))


def _run(x: Tensor, weights: Weights) -> tuple[Tensor, ...]:
    return torch.ops.aten.mkldnn_rnn_layer(
        *_operands(x, weights), **_options(weights), train=torch.is_grad_enabled()
    )


def fused_backward(
    g_hidden: Tensor, x: Tensor, weights: Weights, history: FusedHistory, for_x: bool
) -> tuple[Tensor, Weights]:
    """Gradients with respect to input and weights; ``for_x``: is the former wanted."""
    g_x, *gradient = torch.ops.fedmeta.lstm_backward(
        g_hidden, x, *weights, *history, for_x
    )
    return g_x, Weights(*gradient)


def _backward(g_hidden: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """``rest``: weights, history, and whether the gradient of ``x`` is wanted."""
    weights, history = Weights(*rest[:3]), FusedHistory(*rest[3:7])
    found = torch.ops.aten.mkldnn_rnn_layer_backward(
        *_operands(x, weights),
        *history[:3],
        g_hidden.contiguous(),
        None,
        None,
        **_options(weights),
        train=True,
        workspace=history.workspace,
    )
    return found[:4]


def _operands(x: Tensor, weights: Weights) -> tuple[Tensor, ...]:
    """Input, weights, a second bias, and the state before the first step."""
    state = x.new_zeros(x.shape[1], weights.recurrent.shape[-1])
    inputs, recurrent, bias = weights
    return x.contiguous(), inputs, recurrent, bias, torch.zeros_like(bias), state, state


def _options(weights: Weights) -> dict[str, Any]:
    return {
        "reverse": False,
        "batch_sizes": [],
        "mode": LSTM_MODE,
        "hidden_size": weights.recurrent.shape[-1],
        "num_layers": 1,
        "has_biases": True,
        "bidirectional": False,
        "batch_first": False,
    }


def _layer_flops(x: Any, inputs: Any, recurrent: Any, *_: Any, **__: Any) -> int:
    steps, rows, width = x
    return 2 * steps * rows * inputs[0] * (width + recurrent[1])


def _backward_flops(
    _: Any, x: Any, inputs: Any, recurrent: Any, *rest: Any, **__: Any
) -> int:
    steps, rows, width = x
    unasked = 0 if rest[-1] else 2 * steps * rows * inputs[0] * width
    return 2 * _layer_flops(x, inputs, recurrent) - unasked


HAS_FUSED = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.aten, "mkldnn_rnn_layer"
)
if HAS_FUSED:
    # An operator of our own, for operations to be counted as they are needed: oneDNN
    # computes the input's gradient, asked or not.
    LIBRARY = torch.library.Library("fedmeta", "DEF")
    LIBRARY.define(
        "lstm_backward(Tensor g_hidden, Tensor x, Tensor inputs, Tensor recurrent,"
        " Tensor bias, Tensor hidden, Tensor last_hidden, Tensor last_cell,"
        " Tensor workspace, bool for_x) -> (Tensor, Tensor, Tensor, Tensor)"
    )
    LIBRARY.impl("lstm_backward", _backward, "CPU")
    register_flop_formula(torch.ops.aten.mkldnn_rnn_layer)(_layer_flops)
    register_flop_formula(torch.ops.fedmeta.lstm_backward)(_backward_flops)
