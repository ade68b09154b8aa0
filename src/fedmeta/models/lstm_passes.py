"""The passes over an LSTM layer, written by hand: value, gradient, second gradient.

Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000. What depends
on the step before is one product with the recurrent weights and a few operations on
gates; everything else is done for many steps at once. With z the inputs of the gates,
twice as large for the candidate g, and ' for the step before:

    i, f, g, o = sigmoid(z)
    c = f c' + i (2g - 1)
    h = o y,  y = tanh(c)

One sigmoid serves all four gates, as tanh(a) = 2 sigmoid(2a) - 1 and torch takes three
to six times as long for a tanh on a CPU. For the backward pass, the forward pass
prepares what does not depend on cotangents: dh/dc = o (1 - y²), and dc/dz for i, f, g
and dh/dz for o, together the `slopes` (2g - 1, c', 2i, y) sigmoid'(z).

A product of the Hessian with a direction is the gradient of what the gradient is along
it. It begins with the derivative of the forward pass along the direction (Pearlmutter
1994, the R-operator), named by ``_dot``, which is also that of the cotangents' sources.

Shapes: * stands for no dimension or for one of clients, each with its own weights;
t steps, b rows, i inputs, h hidden units. Gates are [*, t, b, 4, h] in the order i, f,
g, o of `torch.nn.LSTM`.
"""

from collections.abc import Iterator
from itertools import repeat

import torch
from torch import Tensor

from fedmeta.models.lstm_blocks import (
    backwards,
    cut,
    in_blocks,
    multiplier,
    outer,
    times,
)
from fedmeta.models.lstm_values import Cotangents, History, Sources, Weights

_through_sigmoid = torch.ops.aten.sigmoid_backward.grad_input  # a s (1 - s)
_through_tanh = torch.ops.aten.tanh_backward.grad_input  # a (1 - y²)


def hidden_states(x: Tensor, weights: Weights) -> Tensor:
    """[*, t, b, i] -> [*, t, b, h], keeping nothing for a derivative."""
    weights = _candidate_doubled(weights)
    hidden = x.new_empty(*x.shape[:-1], weights.recurrent.shape[-1])
    recur = multiplier(weights.recurrent.mT)
    cell, before = None, None  # twice the cell
    for now, z_block in _projected(x, weights):
        outputs = cut(hidden, now, x.ndim - 3).unbind(-3)
        for z, output in zip(z_block.unbind(-3), outputs, strict=True):
            if before is not None:
                z.add_(recur(before))
            i, f, g, o = z.sigmoid_().unflatten(-1, (4, -1)).unbind(-2)
            update = g.mul_(4).sub_(2).mul_(i)
            cell = update.clone() if cell is None else cell.mul_(f).add_(update)
            before = torch.mul(o, torch.sigmoid(cell).mul_(2).sub_(1), out=output)
    return hidden


def forward(x: Tensor, weights: Weights) -> History:
    """The history of a layer that reads ``x`` [*, t, b, i]."""
    weights = _candidate_doubled(weights)
    *clients, steps, rows, _ = x.shape
    units = weights.recurrent.shape[-1]
    history = History(
        x.new_empty(*clients, steps + 1, rows, units),
        x.new_empty(*clients, steps, rows, 4, units),
        x.new_empty(*clients, steps, rows, 4, units),
        x.new_empty(*clients, steps, rows, units),
        x.new_empty(*clients, steps, rows, units),
    )
    recur = multiplier(weights.recurrent.mT)
    time = len(clients)
    cell = x.new_zeros(*clients, rows, units)  # twice the cell
    hidden = history.hidden.select(-3, 0).zero_()
    minus_one, minus_two = (x.new_full((), -n) for n in (1.0, 2.0))
    for now, z_block in _projected(x, weights):
        part = History(
            cut(history.hidden, slice(now.start + 1, now.stop + 1), time),
            *(cut(slab, now, time) for slab in history[1:]),
        )
        cells = torch.empty_like(part.hidden)  # those that the steps begin with
        slabs = (part.gates, part.slopes, part.squashed, part.hidden, cells)
        for z, gates, slopes, squashed, output, before in zip(
            z_block.unbind(-3), *(slab.unbind(time) for slab in slabs), strict=True
        ):
            z.add_(recur(hidden))
            torch.sigmoid(z.view(gates.shape), out=gates)
            i, f, g, o = gates.unbind(-2)
            candidate = torch.add(minus_two, g, alpha=4, out=slopes.select(-2, 0))
            before.copy_(cell)
            cell.mul_(f).addcmul_(i, candidate)
            torch.sigmoid(cell, out=squashed)
            torch.add(minus_one, squashed, alpha=2, out=squashed)
            hidden = torch.mul(o, squashed, out=output)
        _finish_slopes(part, cells)
    return history


def _finish_slopes(part: History, cells: Tensor) -> None:
    """Fill in the slopes of some steps, of which there is 2 (2g - 1) so far.

    Args:
        part: of the history.
        cells: [*, t, b, h] twice the cells that the steps begin with.
    """
    i, _, _, o = part.gates.unbind(-2)
    of_i, of_f, of_g, of_o = part.slopes.unbind(-2)
    of_i.mul_(0.5)
    torch.mul(cells, 0.5, out=of_f)
    torch.mul(i, 2, out=of_g)
    of_o.copy_(part.squashed)
    _through_sigmoid(part.slopes, part.gates, grad_input=part.slopes)
    _through_tanh(o, part.squashed, grad_input=part.from_cell)


def backward(
    sources: Sources,
    x: Tensor,
    weights: Weights,
    history: History,
    *,
    for_x: bool,
) -> tuple[Tensor | None, Weights, Cotangents]:
    """Gradients with respect to input and weights.

    Args:
        sources: cotangents of what the forward pass computed.
        x: [*, t, b, i] what the layer read.
        weights: of the layer.
        history: left by `forward`.
        for_x: whether the input's gradient is wanted; None otherwise.
    """
    weights = _candidate_doubled(weights)
    time = x.ndim - 3
    hidden = sources.hidden
    g = Cotangents(
        torch.empty_like(history.gates), *(torch.empty_like(hidden) for _ in "ch")
    )
    back = multiplier(weights.recurrent)
    slabs = (hidden, *g, history.gates, history.slopes, history.from_cell)
    more: Iterator[tuple[Tensor | None, ...]] = repeat((None, None))
    if sources.z is not None and sources.c is not None:
        more = backwards((sources.z, sources.c), time)
    carried = x.new_zeros(hidden.select(-3, 0).shape)
    of_hidden = carried
    for (source, g_z, g_c, g_h, gates, slopes, from_cell), (source_z, source_c) in zip(
        backwards(slabs, time), more, strict=False
    ):
        torch.add(source, of_hidden, out=g_h)
        torch.addcmul(carried, g_h, from_cell, out=g_c)
        if source_c is not None:
            g_c.add_(source_c)
        torch.mul(slopes, g_c.unsqueeze(-2), out=g_z)  # of o too: faster in one piece
        torch.mul(slopes.select(-2, 3), g_h, out=g_z.select(-2, 3))
        if source_z is not None:
            g_z.add_(source_z)
        torch.mul(g_c, gates.select(-2, 1), out=carried)
        of_hidden = back(g_z.flatten(-2))
    g_z = g.z.flatten(-2)
    gradient = Weights(
        outer(g_z, x), outer(g_z, _before(history.hidden)), g_z.sum((-3, -2))
    )
    g_x = times(g_z, weights.inputs) if for_x else None
    return g_x, _candidate_doubled(gradient), g


def backward_of_backward(
    x_dot: Tensor | None,
    weights_dot: Weights,
    x: Tensor,
    weights: Weights,
    history: History,
    cotangents: Cotangents,
) -> tuple[Sources, Tensor, Tensor | None, Weights]:
    """Gradient of <direction, gradients that `backward` computes>.

    What it gives with respect to the history is for `backward` to pass on, together
    with what else has to be: so that a Hessian product takes no more products of
    matrices than it must.

    Args:
        x_dot: [*, t, b, i] direction, of the input; None: it is constant.
        weights_dot: direction, of the weights.
        x: [*, t, b, i] what the layer read.
        weights: of the layer.
        history: left by `forward`.
        cotangents: left by `backward`.

    Returns:
        Gradient with respect to the history; to the cotangent of the hidden states
        [*, t, b, h], which is their derivative along the direction; and, the history
        held constant, to input (None where it is constant) and weights.
    """
    weights, weights_dot = map(_candidate_doubled, (weights, weights_dot))
    time = x.ndim - 3
    hidden_dot = torch.empty_like(history.hidden)
    of_z = torch.empty_like(history.gates)
    of_cells = torch.empty_like(history.hidden)  # those that the steps begin with
    of_cells.select(-3, 0).zero_()
    recur = multiplier(weights.recurrent.mT)
    h_dot = hidden_dot.select(-3, 0).zero_()
    c_dot = torch.zeros_like(h_dot)
    inputs = _projected_dot(x_dot, weights_dot, x, weights, history.hidden)
    for now, z_dots in inputs:
        later = slice(now.start + 1, now.stop + 1)
        part = History(*(cut(slab, now, time) for slab in history))
        z_dots = z_dots.unflatten(-1, (4, -1))  # noqa: PLW2901
        before_dot = torch.empty_like(part.squashed)
        cell_dot = torch.empty_like(part.squashed)
        outputs = cut(hidden_dot, later, time)
        slabs = (z_dots, outputs, before_dot, cell_dot, *part[1:])
        for z_dot, output, before, after, gates, slopes, _, from_cell in zip(
            *(slab.unbind(time) for slab in slabs), strict=True
        ):
            z_dot.flatten(-2).add_(recur(h_dot))
            by_i, by_f, by_g, by_o = (slopes * z_dot).unbind(-2)
            before.copy_(c_dot)
            c_dot.mul_(gates.select(-2, 1)).add_(by_i).add_(by_f).add_(by_g)
            after.copy_(c_dot)
            h_dot = torch.addcmul(by_o, from_cell, c_dot, out=output)
        _slopes_dot(
            part,
            Cotangents(*(cut(slab, now, time) for slab in cotangents)),
            z_dots,
            before_dot,
            cell_dot,
            out=(
                cut(of_z, now, time),
                cut(of_cells, now, time),
                cut(of_cells, later, time),
            ),
        )
    g_z = cotangents.z.flatten(-2)
    steps = x.shape[-3]
    of_hidden = torch.zeros_like(history.squashed)
    of_hidden.narrow(-3, 0, steps - 1).copy_(
        times(g_z.narrow(-3, 1, steps - 1), weights_dot.recurrent)
    )
    gradient = Weights(
        torch.zeros_like(weights.inputs) if x_dot is None else outer(g_z, x_dot),
        outer(g_z, _before(hidden_dot)),
        torch.zeros_like(weights.bias),
    )
    return (
        Sources(of_hidden, of_z, of_cells.narrow(-3, 1, steps)),
        hidden_dot.narrow(-3, 1, steps),
        None if x_dot is None else times(g_z, weights_dot.inputs),
        _candidate_doubled(gradient),
    )


def _slopes_dot(
    part: History,
    cotangents: Cotangents,
    z_dot: Tensor,
    before_dot: Tensor,
    cell_dot: Tensor,
    out: tuple[Tensor, Tensor, Tensor],
) -> None:
    """What the derivative of the slopes contributes to that of the cotangents.

    Args:
        part: of the history, some steps of it.
        cotangents: at these steps.
        z_dot: [*, t, b, 4, h] derivative of the gates' inputs; overwritten.
        before_dot: [*, t, b, h] of the cell before.
        cell_dot: [*, t, b, h] of the cell.
        out: derivative of the cotangents of z [*, t, b, 4, h], to be filled; of the
            cells before [*, t, b, h], to be added to; and of the cells, to be filled.
    """
    of_z, of_before, of_cell = out
    g_z, g_c, g_h = cotangents
    gates_dot = torch.empty_like(part.gates)
    _through_sigmoid(z_dot, part.gates, grad_input=gates_dot)
    i_dot, f_dot, candidate_dot, o_dot = gates_dot.unbind(-2)

    # The slopes are sigmoid'(z) times a factor: first the derivative of the factor,
    of_i, of_f, of_g, of_o = of_z.unbind(-2)
    twice = g_c * 2
    torch.mul(twice, candidate_dot, out=of_i)
    torch.mul(g_c, before_dot, out=of_f)
    torch.mul(twice, i_dot, out=of_g)
    curve = torch.addcmul(z_dot.new_ones(()), part.squashed, part.squashed, value=-1)
    torch.mul(g_h, curve * cell_dot, out=of_o)
    _through_sigmoid(of_z, part.gates, grad_input=of_z)
    # then that of sigmoid'(z), which is (1 - 2 sigmoid) sigmoid' times that of z.
    bent = z_dot.mul_(g_z)
    of_z.add_(bent).addcmul_(bent, part.gates, value=-2)

    from_cell_dot = curve.mul_(o_dot)
    from_cell_dot.addcmul_(part.from_cell * part.squashed, cell_dot, value=-2)
    torch.mul(g_h, from_cell_dot, out=of_cell)
    of_before.addcmul_(g_c, f_dot)


def _candidate_doubled(weights: Weights) -> Weights:
    """The rows of the candidate's weights times two; its own transpose, and exact."""
    units = weights.recurrent.shape[-1]
    rows = weights.bias.new_ones(4 * units)
    rows[2 * units : 3 * units] = 2
    inputs, recurrent, bias = weights
    return Weights(inputs * rows[:, None], recurrent * rows[:, None], bias * rows)


def _projected(x: Tensor, weights: Weights) -> Iterator[tuple[slice, Tensor]]:
    """By blocks of steps, [*, t, b, 4h]: z but for its recurrent part."""
    yield from in_blocks([(x, multiplier(weights.inputs.mT))], weights.bias)


def _projected_dot(
    x_dot: Tensor | None,
    weights_dot: Weights,
    x: Tensor,
    weights: Weights,
    hidden: Tensor,
) -> Iterator[tuple[slice, Tensor]]:
    """By blocks, [*, t, b, 4h]: derivative of z but for that of the hidden states."""
    terms = [
        (x, multiplier(weights_dot.inputs.mT)),
        (_before(hidden), multiplier(weights_dot.recurrent.mT)),
    ]
    if x_dot is not None:
        terms.append((x_dot, multiplier(weights.inputs.mT)))
    yield from in_blocks(terms, weights_dot.bias)


def _before(hidden: Tensor) -> Tensor:
    """[*, t + 1, b, h] -> [*, t, b, h], the states that the steps begin with."""
    return hidden.narrow(-3, 0, hidden.shape[-3] - 1)
