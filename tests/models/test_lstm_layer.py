"""Stacked layers against `torch.nn.LSTM` and finite differences."""

import pytest
import torch
from torch import nn

from fedmeta.core.foresight import second_order
from fedmeta.models.lstm_blocks import ROWS
from fedmeta.models.lstm_layer import last_hidden
from fedmeta.models.lstm_values import Weights


def layers_of(lstm: nn.LSTM) -> list[Weights]:
    """The weights of a module, its two biases added."""
    return [
        Weights(
            getattr(lstm, f"weight_ih_l{n}"),
            getattr(lstm, f"weight_hh_l{n}"),
            getattr(lstm, f"bias_ih_l{n}") + getattr(lstm, f"bias_hh_l{n}"),
        )
        for n in range(lstm.num_layers)
    ]


def derivatives(run, leaves, second: bool):
    """Value, gradient and, of the gradient along itself, the gradient."""
    value = run()
    gradient = torch.autograd.grad(value.sin().sum(), leaves, create_graph=second)
    found = [value, *gradient]
    if second:
        along = [g.detach().clone() for g in gradient]
        found += torch.autograd.grad(gradient, leaves, along)
    return [a.detach() for a in found]


# 264 units: large enough for packed matrices; 300 rows: more than a block.
@pytest.mark.parametrize("sizes", [(3, 5, 7, 2), (8, 264, 6, 20), (2, 3, 4, ROWS + 44)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)
def test_equals_torch(sizes, dtype, tolerance):
    width, hidden, steps, rows = sizes
    torch.manual_seed(0)
    lstm = nn.LSTM(width, hidden, num_layers=2).to(dtype)
    x = torch.randn(steps, rows, width, dtype=dtype, requires_grad=True)
    leaves = [x, *lstm.parameters()]

    def ours():
        return last_hidden(x, layers_of(lstm))

    def announced():
        with second_order():
            return ours()

    def theirs():
        with torch.backends.mkldnn.flags(enabled=False):
            return lstm(x)[0][-1]

    exact = derivatives(theirs, leaves, second=True)
    for run, second in ((ours, False), (ours, True), (announced, True)):
        found = derivatives(run, leaves, second)
        for a, b in zip(found, exact, strict=False):
            assert (a - b).abs().max() <= tolerance * (1e-3 + b.abs().max())


@pytest.mark.parametrize("constant_input", [False, True])
def test_gradients_of_gradients_against_finite_differences(constant_input):
    torch.manual_seed(0)
    shapes = [(8, 3), (8, 2), (8,), (12, 2), (12, 3), (12,)]
    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=not constant_input)

    def run(x, *weights):
        return last_hidden(x, [Weights(*weights[:3]), Weights(*weights[3:])])

    assert torch.autograd.gradcheck(run, (x, *weights))
    assert torch.autograd.gradgradcheck(run, (x, *weights))


def test_third_derivatives_are_refused():
    torch.manual_seed(0)
    weights = [torch.randn(s, dtype=torch.float64) for s in ((8, 3), (8, 2), (8,))]
    weights = [w.requires_grad_() for w in weights]
    y = last_hidden(torch.randn(4, 2, 3).double(), [Weights(*weights)]).sum()
    for _ in range(2):
        (slope,) = torch.autograd.grad(y, weights[1], create_graph=True)
        y = slope.sin().sum()
    with pytest.raises(NotImplementedError, match="differentiable twice, no more"):
        torch.autograd.grad(y, weights[1])


@pytest.mark.parametrize("announce", [False, True])
def test_an_input_in_any_layout(announce):
    torch.manual_seed(0)
    lstm = nn.LSTM(3, 4)
    x = torch.randn(2, 5, 3, requires_grad=True)  # batch first
    found = []
    for run in (
        lambda: last_hidden(x.movedim(0, 1), layers_of(lstm)),
        lambda: last_hidden(x.movedim(0, 1).contiguous(), layers_of(lstm)),
    ):
        with second_order() if announce else torch.enable_grad():
            y = run().square().sum()
        (slope,) = torch.autograd.grad(y, x, create_graph=True)
        found.append((slope, *torch.autograd.grad(slope.square().sum(), x)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().max() > 1e-6
