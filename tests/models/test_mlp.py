"""The fully connected network against a plain one of `torch.nn`, to second order."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F

from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.core.cost import analytic_flops, counted_flops
from fedmeta.core.optimizers import sgd
from fedmeta.core.types import Batch, Task
from fedmeta.models.mlp import mlp

SMALL = {"hidden": (5, 4), "classes": 3, "features": 6}


def plain_network(features, first, second, classes):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, first),
        nn.ELU(),
        nn.Linear(first, second),
        nn.ELU(),
        nn.Linear(second, classes),
    )


def batch_of(rows, features=6, classes=3):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return Batch(x, torch.randint(classes, (rows,), generator=generator))


def double(params):
    return {name: p.double() for name, p in params.items()}


def hessian_product(loss, params, batch):
    """Gradient, and Hessian times that gradient."""
    slope = lambda p: grad(loss)(p, batch)  # noqa: E731
    return jvp(slope, (params,), (slope(params),))


def test_names_shapes_and_initial_weights_are_those_of_torch_modules():
    torch.manual_seed(3)
    theirs = plain_network(784, 80, 60, 62)
    params = mlp().init(3)
    assert list(params) == [
        f"{layer}.{kind}"
        for layer in ("hidden1", "hidden2", "classifier")
        for kind in ("weight", "bias")
    ]
    # 785 * 80 + 81 * 60 + 61 * 62
    assert sum(p.numel() for p in params.values()) == 71_442
    for ours, weight in zip(params.values(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, weight.detach(), rtol=1e-6, atol=0)


def test_derivatives_are_those_of_a_plain_network():
    network, model = plain_network(6, 5, 4, 3).double(), mlp(**SMALL)
    params, batch = double(model.init(0)), batch_of(7)
    names = [name for name, _ in network.named_parameters()]

    def plain_loss(params, batch):
        theirs = dict(zip(names, params.values(), strict=True))
        return F.cross_entropy(functional_call(network, theirs, batch.x), batch.y)

    torch.testing.assert_close(model.loss(params, batch), plain_loss(params, batch))
    ours = hessian_product(model.loss, params, batch)
    torch.testing.assert_close(ours, hessian_product(plain_loss, params, batch))
    assert all(p.abs().max() > 0 for p in ours[1].values())


def test_backward_twice_agrees_with_forward_over_backward():
    model = mlp(**SMALL)
    params, batch = double(model.init(0)), batch_of(7)
    gradient, expected = hessian_product(model.loss, params, batch)
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    first = torch.autograd.grad(
        model.loss(leaves, batch), leaves.values(), create_graph=True
    )
    second = torch.autograd.grad(first, leaves.values(), list(gradient.values()))
    torch.testing.assert_close(second, tuple(expected.values()))


def test_vmap_over_parameters_and_data():
    model = mlp(**SMALL)
    clients = [double(model.init(seed)) for seed in (0, 1)]
    batches = [batch_of(4), batch_of(4)._replace(y=torch.tensor([2, 1, 0, 1]))]
    stacked = {name: torch.stack([c[name] for c in clients]) for name in clients[0]}
    x, y = (torch.stack([b[i] for b in batches]) for i in (0, 1))
    together = vmap(lambda p, b: hessian_product(model.loss, p, b))(
        stacked, Batch(x, y, torch.ones(2, 4).double())
    )
    for row, (params, batch) in enumerate(zip(clients, batches, strict=True)):
        alone = hessian_product(model.loss, params, batch)
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close({n: p[row] for n, p in ours.items()}, theirs)


def test_records_of_any_shape_are_flattened():
    model, images = mlp(**SMALL), torch.randn(4, 1, 2, 3)
    params = model.init(0)
    expected = model.apply(params, images.flatten(1))
    assert expected.shape == (4, 3)
    torch.testing.assert_close(model.apply(params, images), expected)
    with pytest.raises(RuntimeError):
        model.apply(params, torch.randn(4, 12))  # not eight records of six


def test_any_number_of_hidden_layers():
    weights = [name for name in mlp([9, 8, 7]).init(0) if name.endswith("weight")]
    assert weights == [f"hidden{i}.weight" for i in (1, 2, 3)] + ["classifier.weight"]
    linear = mlp([], classes=3, features=6)
    params, x = linear.init(0), torch.randn(4, 6)
    expected = x @ params["classifier.weight"].T + params["classifier.bias"]
    torch.testing.assert_close(linear.apply(params, x), expected)


@pytest.mark.parametrize("name", ["fomaml", "maml"])
def test_analytic_and_counted_operations_agree(name):
    model = mlp()
    assert model.flops == (2 * (784 * 80 + 80 * 60 + 60 * 62), 2 * 784 * 80)
    algorithm = ALGORITHMS[name].factory(model.loss, inner_lr=0.01, server=sgd(1.0))
    row = Batch(torch.rand(1, 784), torch.tensor([3]))
    task = Task(row, row, torch.arange(2).expand(algorithm.passes, -1))
    counted = counted_flops(algorithm, algorithm.init(model.init(0)).meta, task)
    for support, query in [(1, 1), (44, 176)]:
        analytic = analytic_flops(algorithm.work(support, query), model.flops)
        assert counted(support, query) == pytest.approx(analytic, rel=0.02)
