"""LSTM layers that torch can differentiate twice, by the passes of `lstm_passes`.

Three operations, each the derivative of the one before: a layer, its gradient, and its
Hessian product. All have a rule for ``torch.vmap``, so that they work for many clients
at once and under ``torch.func``.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from fedmeta.core.foresight import is_second_order
from fedmeta.models.lstm_fused import (
    FusedHistory,
    can_fuse,
    fused_backward,
    fused_forward,
    fused_states,
)
from fedmeta.models.lstm_passes import (
    backward,
    backward_of_backward,
    forward,
    hidden_states,
)
from fedmeta.models.lstm_values import Cotangents, History, Sources, Weights
from fedmeta.models.product import is_transformed


def last_hidden(x: Tensor, layers: Sequence[Weights]) -> Tensor:
    """Last hidden state of stacked LSTM layers that start from zeros.

    Args:
        x: [t, b, i] what the first layer reads, time first.
        layers: their weights, as in `torch.nn.LSTM` but for one bias a gate.

    Returns:
        [b, h], differentiable twice.
    """
    for weights in layers:
        if is_transformed():
            x = _Layer.apply(x, *weights)[0]
        elif not torch.is_grad_enabled():
            x = (fused_states if can_fuse(x) else hidden_states)(x, weights)
        elif can_fuse(x) and not is_second_order():
            x = _FusedLayer.apply(x.contiguous(), *weights)  # once for both passes
        else:
            x = _Layer.apply(x, *weights)[0]
    return x[-1]


class _FusedLayer(torch.autograd.Function):
    """(x, weights) -> hidden states, fast where one derivative is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        history = fused_forward(x, Weights(*weights))
        ctx.save_for_backward(x, *weights, *history)
        return history.hidden

    @staticmethod
    def backward(ctx: Any, g_hidden: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = layer = ctx.saved_tensors[:4]
        if not torch.is_grad_enabled():
            history = FusedHistory(*ctx.saved_tensors[4:])
            g_x, gradient = fused_backward(
                g_hidden, x, Weights(*weights), history, ctx.needs_input_grad[0]
            )
            return g_x, *gradient
        # Nobody said beforehand that a graph would be made of the gradient: begin anew.
        hidden = _Layer.apply(*layer)[0]
        wanted = [tensor for tensor in layer if tensor.requires_grad]
        found = iter(torch.autograd.grad(hidden, wanted, g_hidden, create_graph=True))
        return tuple(next(found) if t.requires_grad else None for t in layer)


class _ForEachClient(torch.autograd.Function):
    """An operation on tensors; under vmap all have a first dimension of clients."""

    @classmethod
    def vmap(
        cls, info: Any, in_dims: Any, *args: Any
    ) -> tuple[tuple[Tensor, ...], Any]:
        def first(a: Any, dim: int | None) -> Any:
            if not isinstance(a, Tensor):
                return a
            if dim is None:
                return a.expand(info.batch_size, *a.shape)
            return a.movedim(dim, 0)

        outputs = cls.apply(*map(first, args, in_dims))
        # There is one empty output for all clients, where nothing was asked for.
        return outputs, tuple(0 if output.ndim > 1 else None for output in outputs)


class _Layer(_ForEachClient):
    """(x, weights) -> hidden states, and the history for the derivatives.

    Of the history, `gates` and `squashed` stand for z and c: their gradients are those.
    """

    @staticmethod
    def forward(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        states, gates, slopes, squashed, from_cell = forward(x, Weights(*weights))
        hidden = states.narrow(-3, 1, x.shape[-3])
        return hidden, gates, squashed, states, slopes, from_cell

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]
    ) -> None:
        ctx.mark_non_differentiable(*output[3:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    def backward(ctx: Any, *sources: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(source is None for source in sources):
            return None, None, None, None
        for_x = ctx.needs_input_grad[0]
        hidden, gates, squashed = ctx.saved_tensors[4:7]
        of_hidden, of_z, of_c = sources[:3]
        if of_hidden is None:
            of_hidden = torch.zeros_like(hidden)
        if (of_z is None) != (of_c is None):
            of_z = torch.zeros_like(gates) if of_z is None else of_z
            of_c = torch.zeros_like(squashed) if of_c is None else of_c
        run = (
            _Gradient.apply
            if torch.is_grad_enabled() or is_transformed()
            else _Gradient.forward
        )
        *gradient, _, _, _, g_x = run(for_x, of_z, of_c, of_hidden, *ctx.saved_tensors)
        return g_x if for_x else None, *gradient


class _Gradient(_ForEachClient):
    """(sources, layer) -> gradients of weights and input, and the cotangents."""

    @staticmethod
    def forward(
        for_x: bool, of_z: Tensor | None, of_c: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        of_hidden, x, *layer = tensors
        weights, history = layer[:3], layer[3:]
        g_x, gradient, cotangents = backward(
            Sources(of_hidden, of_z, of_c),
            x,
            Weights(*weights),
            _history(history),
            for_x=for_x,
        )
        # An output must be a tensor: an empty one where there is no gradient.
        return *gradient, *cotangents, x.new_empty(0) if g_x is None else g_x

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        ctx.for_x, of_z, _, _, *layer = inputs
        ctx.linear = of_z is None
        ctx.mark_non_differentiable(*output[3:6])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*layer, *output[3:6])

    @staticmethod
    def backward(ctx: Any, *dots: Tensor | None) -> tuple[Tensor | None, ...]:
        if not ctx.linear:
            raise NotImplementedError("an LSTM layer is differentiable twice, no more")
        x, *weights = ctx.saved_tensors[:4]
        along = zip((*weights, x), (*dots[:3], dots[6]), strict=True)
        directions = [torch.zeros_like(a) if dot is None else dot for a, dot in along]
        hidden_dot, x_, *rest = _SecondGradient.apply(
            ctx.for_x, *directions, *ctx.saved_tensors
        )
        x_ = x_ if ctx.for_x else None
        return None, None, None, hidden_dot, x_, *rest, None, None, None


class _SecondGradient(_ForEachClient):
    """(direction, layer, cotangents) -> gradients of the cotangent, layer, history."""

    @staticmethod
    def forward(for_x: bool, *tensors: Tensor) -> tuple[Tensor | None, ...]:
        *direction, x_dot, x = tensors[:5]
        weights, history, cotangents = tensors[5:8], tensors[8:14], tensors[14:]
        sources, hidden_dot, of_x, gradient = backward_of_backward(
            x_dot if for_x else None,
            Weights(*direction),
            x,
            Weights(*weights),
            _history(history),
            Cotangents(*cotangents),
        )
        empty = x.new_empty(0)
        return hidden_dot, empty if of_x is None else of_x, *gradient, *sources

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> NoReturn:
        raise NotImplementedError("an LSTM layer is differentiable twice, no more")


def _history(outputs: Sequence[Tensor]) -> History:
    """From the outputs of `_Layer`."""
    _, gates, squashed, states, slopes, from_cell = outputs
    return History(states, gates, slopes, squashed, from_cell)
