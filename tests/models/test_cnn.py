"""The network against a plain one of `torch.nn`, to second order."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fedmeta.core.types import Batch
from fedmeta.models.cnn import femnist_cnn
from fedmeta.models.product import product

SMALL = {"channels": (3, 4), "hidden": 7, "classes": 5, "image_size": 8}


def plain_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 2048),
        nn.ReLU(),
        nn.Linear(2048, 62),
    )


def batch_of(rows, pixels=784, classes=62, dtype=torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(rows)
    x = torch.rand(rows, pixels, generator=generator, dtype=dtype)
    return Batch(x, torch.randint(classes, (rows,), generator=generator))


def cast(params, dtype):
    return {name: p.to(dtype) for name, p in params.items()}


def derivatives(loss, params, batch):
    """Loss, gradient, and Hessian times that gradient."""
    leaves = [p.clone().requires_grad_() for p in params.values()]
    value = loss(dict(zip(params, leaves, strict=True)), batch)
    gradient = torch.autograd.grad(value, leaves, create_graph=True)
    vector = [g.detach() for g in gradient]
    return [value.detach(), *vector, *torch.autograd.grad(gradient, leaves, vector)]


def assert_close(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def test_initial_weights_are_those_of_torch_modules():
    torch.manual_seed(3)
    theirs = list(plain_network().eval().children())
    weights = [p for layer in theirs for p in layer.parameters()]
    ours = femnist_cnn().init(3)
    assert sum(p.numel() for p in ours.values()) == 6_603_710
    for a, b in zip(ours.values(), weights, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-6, atol=0)


def test_glorot_bounds():
    params = femnist_cnn(**SMALL, initialization="tf_glorot").init(0)
    assert params["hidden.bias"].eq(0).all()
    bound = (6 / (7 + 16)) ** 0.5
    assert 0.8 * bound < params["hidden.weight"].abs().max() <= bound


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)
@pytest.mark.parametrize("rows", [1, 6])
def test_derivatives_are_those_of_a_plain_network(dtype, tolerance, rows):
    network = plain_network().to(dtype)
    model = femnist_cnn()
    params = cast(model.init(0), dtype)
    names = [name for name, _ in network.named_parameters()]

    def plain_loss(params, batch):
        theirs = dict(zip(names, params.values(), strict=True))
        logits = torch.func.functional_call(network, theirs, batch.x)
        return F.cross_entropy(logits, batch.y)

    batch = batch_of(rows, dtype=dtype)
    ours = derivatives(model.loss, params, batch)
    assert_close(ours, derivatives(plain_loss, params, batch), tolerance)


@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (1, 5, 3), (4, 1, 3), (6, 5, 1)])
def test_product_to_second_order(n, m, k):
    """In float32 through oneDNN against float64, every shape and layout it meets."""
    generator = torch.Generator().manual_seed(n)
    factors = [torch.randn(rows, k, generator=generator) for rows in (n, m)]
    results = []
    for multiply, dtype in (
        (product, torch.float32),
        (lambda a, b: a @ b.mT, torch.float64),
    ):
        a, b = (f.to(dtype).requires_grad_() for f in factors)
        y = multiply(a, b)
        # Sums have cotangents of stride zero.
        first = torch.autograd.grad((y.sin() + y).sum(), (a, b), create_graph=True)
        plain = torch.autograd.grad(multiply(a, b).sum(), (a, b))
        second = torch.autograd.grad(sum(g.sum() for g in first), (a, b))
        results.append([y.detach(), *(g.detach() for g in (*first, *plain, *second))])
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
        assert ours.is_contiguous()


def test_gradient_through_func_transforms_agrees():
    model = femnist_cnn(**SMALL)
    params, batch = model.init(0), batch_of(3, 64, 5)
    value, *rest = derivatives(model.loss, params, batch)
    gradient = dict(zip(params, rest[: len(params)], strict=True))
    ours, pullback = torch.func.vjp(
        lambda p: torch.func.grad(model.loss)(p, batch), params
    )
    product_ = pullback(gradient)[0]
    assert_close([*ours.values(), *product_.values()], rest, 1e-5)


def test_vmap_over_parameters_and_data():
    model = femnist_cnn(**SMALL)
    clients = [model.init(seed) for seed in (0, 1, 2)]
    batches = [batch_of(rows, 64, 5) for rows in (4, 4, 4)]
    stacked = {n: torch.stack([c[n] for c in clients]) for n in clients[0]}
    images, labels = (torch.stack([b[i] for b in batches]) for i in (0, 1))
    data = Batch(images, labels, torch.ones(3, 4))
    together = torch.vmap(torch.func.grad(model.loss))(stacked, data)
    shared = torch.vmap(torch.func.grad(model.loss), (None, 0))(clients[0], data)
    for row, (params, batch) in enumerate(zip(clients, batches, strict=True)):
        alone = torch.func.grad(model.loss)(params, batch)
        assert_close([g[row] for g in together.values()], alone.values(), 1e-5)
        alone = torch.func.grad(model.loss)(clients[0], batch)
        assert_close([g[row] for g in shared.values()], alone.values(), 1e-5)


def alike(ours, theirs):
    """Cosine of two tensors."""
    return float(F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0))


@pytest.mark.parametrize("rows", [3, 40])
def test_bfloat16_rounds_and_leaves_parameters_in_float32(rows):
    """It has three digits; where maxima change places, gradients differ more."""
    full, low = femnist_cnn(), femnist_cnn(precision="bfloat16")
    params, batch = full.init(0), batch_of(rows)
    (value, *ours), (exact, *theirs) = (
        derivatives(model.loss, params, batch) for model in (low, full)
    )
    assert value.item() == pytest.approx(exact.item(), rel=2e-3)
    assert value != exact
    assert {leaf.dtype for leaf in (value, *ours)} == {torch.float32}
    assert min(map(alike, ours, theirs)) > 0.97
    through_func = torch.func.grad(low.loss)(params, batch).values()
    assert min(map(alike, through_func, theirs)) > 0.97


def test_bfloat16_with_clients_stacked():
    model = femnist_cnn(**SMALL, precision="bfloat16")
    params, batch = model.init(0), batch_of(4, 64, 5)
    stacked = {name: torch.stack([leaf] * 2) for name, leaf in params.items()}
    together = torch.vmap(torch.func.grad(model.loss), (0, None))(stacked, batch)
    alone = torch.func.grad(model.loss)(params, batch)
    for name, leaf in together.items():
        assert alike(leaf[1], alone[name]) > 0.99


def test_flops_counted_are_those_stated():
    model = femnist_cnn()
    params, batch = model.init(0), batch_of(2)
    with FlopCounterMode(display=False) as forward:
        model.apply(params, batch.x)
    assert forward.get_total_flops() == 2 * model.flops.total
    with FlopCounterMode(display=False) as backward:
        torch.func.grad(model.loss)(params, batch)
    stated = 3 * model.flops.total - model.flops.first_layer
    assert backward.get_total_flops() == 2 * stated


BAD = [{"image_size": 30}, {"initialization": "pytorhc"}, {"precision": "float16"}]


@pytest.mark.parametrize("options", BAD)
def test_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        femnist_cnn(**options)
