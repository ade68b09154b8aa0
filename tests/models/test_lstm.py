"""The networks of the text benchmarks: counts, initial weights, derivatives."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fedmeta.core.foresight import second_order
from fedmeta.core.gradients import gradient_and_hessian, gradient_and_loss
from fedmeta.core.inner import FIRST_ORDER, Plan, meta_gradient
from fedmeta.core.types import Batch
from fedmeta.models.lstm import character_lstm, tweet_lstm

# name -> (model, its classes, records [b, 6, *])
SMALL = {
    "characters": (
        lambda: character_lstm(5, embedding=3, hidden=4),
        5,
        lambda rows: torch.randint(5, (rows, 6)).to(torch.uint8),
    ),
    "vectors": (
        lambda: tweet_lstm(words=0, width=4, hidden=3, dense=5),
        2,
        lambda rows: torch.randn(rows, 6, 4),
    ),
    "words": (
        lambda: tweet_lstm(words=7, width=4, hidden=3, dense=None),
        2,
        lambda rows: torch.randint(8, (rows, 6)),
    ),
}
PAPER = {
    "shakespeare": (lambda: character_lstm(53), 810_717, 127.2e6),
    "sent140": (lambda: tweet_lstm(0, 300, dense=None), 241_002, 12.0e6),
    "sent140, dense": (lambda: tweet_lstm(0, 300), 253_986, 12.0e6),
}


def batch_of(name: str, rows: int, dtype=torch.float32, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    _, classes, records = SMALL[name]
    x = records(rows)
    x = x.to(dtype) if x.is_floating_point() else x
    return Batch(x, torch.randint(classes, (rows,)))


def cast(params, dtype):
    return {name: p.to(dtype) for name, p in params.items()}


def direction_like(params):
    torch.manual_seed(1)
    return {name: torch.randn_like(p) for name, p in params.items()}


def assert_close(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, a in ours.items():
        assert (a - theirs[name]).abs().max() <= tolerance * (
            1 + theirs[name].abs().max()
        ), name


@pytest.mark.parametrize("name", PAPER)
def test_parameters_and_operations_of_the_paper(name):
    make, parameters, flops = PAPER[name]
    model = make()
    assert sum(p.numel() for p in model.init(0).values()) == parameters
    assert model.flops.total == pytest.approx(flops, rel=3e-3)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "torch.func"])
@pytest.mark.parametrize("name", PAPER)
def test_operations_counted_are_those_stated(name, masked):
    model = PAPER[name][0]()
    x = torch.zeros(2, 80).long() if name == "shakespeare" else torch.randn(2, 25, 300)
    batch = Batch(x, torch.tensor([0, 1]), torch.ones(2) if masked else None)
    params, (total, first) = model.init(0), model.flops
    with FlopCounterMode(display=False) as gradient:
        gradient_and_loss(model.loss, params, batch)
    assert gradient.get_total_flops() == 2 * (3 * total - first)
    with FlopCounterMode(display=False) as both, second_order():
        gradient_and_hessian(model.loss, params, batch)[1](params)
    stated = 2 * (9 * total - 5 * first)
    assert both.get_total_flops() == pytest.approx(stated, rel=0.005)


def test_initial_weights_are_those_of_torch_modules():
    torch.manual_seed(3)
    embedding, lstm, linear = (
        nn.Embedding(53, 8),
        nn.LSTM(8, 256, 2),
        nn.Linear(256, 53),
    )
    ours = character_lstm(53).init(3)
    theirs = {"embedding.weight": embedding.weight}
    for layer in (0, 1):
        for ours_, its in (("inputs", "weight_ih"), ("recurrent", "weight_hh")):
            theirs[f"lstm{layer + 1}.{ours_}"] = getattr(lstm, f"{its}_l{layer}")
        biases = (getattr(lstm, f"bias_{k}_l{layer}") for k in ("ih", "hh"))
        theirs[f"lstm{layer + 1}.bias"] = sum(biases)
    theirs |= {"classifier.weight": linear.weight, "classifier.bias": linear.bias}
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name].detach(), rtol=1e-6, atol=1e-7)


def test_tensorflow_initialization():
    params = tweet_lstm(0, 300, initialization="tf_glorot").init(0)
    forget = params["lstm1.bias"].reshape(4, 100)
    assert forget[1].eq(1).all() and forget[[0, 2, 3]].eq(0).all()
    bound = (6 / (300 + 100 + 400)) ** 0.5
    for part in ("inputs", "recurrent"):
        assert 0.99 * bound < params[f"lstm1.{part}"].abs().max() <= bound
    assert params["dense.bias"].eq(0).all()


@pytest.mark.parametrize("initialization", ["pytorch", "tf_glorot"])
def test_padding_has_the_zero_vector_and_keeps_it(initialization):
    model = tweet_lstm(7, 4, hidden=3, initialization=initialization)
    params = model.init(0)
    assert params["embedding.weight"].shape == (8, 4)
    assert params["embedding.weight"][0].eq(0).all()
    gradient, product = gradient_and_hessian(
        model.loss, params, Batch(torch.tensor([[3, 7, 0, 0]]), torch.tensor([1]))
    )
    curved = product(direction_like(params))
    for tree in (gradient, curved):
        assert tree["embedding.weight"][0].eq(0).all()
        assert tree["embedding.weight"][7].ne(0).any()


@pytest.mark.parametrize("name", SMALL)
def test_derivatives_against_finite_differences(name):
    """The whole meta-gradient, through two inner steps, in float64."""
    model = SMALL[name][0]()
    params = cast(model.init(0), torch.float64)
    support, query = (batch_of(name, 3, torch.float64, seed) for seed in (0, 1))
    batches = Plan(epochs=2).batches(support)
    alpha = 0.5
    exact = meta_gradient(model.loss, params, batches, query, alpha).theta
    rough = meta_gradient(
        model.loss, params, batches, query, alpha, hessians=FIRST_ORDER
    ).theta
    direction, eps = direction_like(params), 1e-5
    if name == "words":
        direction["embedding.weight"][0] = 0

    def adapted_loss(sign):
        moved = {n: p + sign * eps * direction[n] for n, p in params.items()}
        return meta_gradient(
            model.loss, moved, batches, query, alpha, hessians=FIRST_ORDER
        ).query_loss

    slope = (adapted_loss(1) - adapted_loss(-1)) / (2 * eps)
    ours, first = (
        sum((tree[n] * direction[n]).sum() for n in params) for tree in (exact, rough)
    )
    torch.testing.assert_close(ours, slope, rtol=1e-8, atol=1e-9)
    assert abs(first - slope) > 1e-4 * abs(slope)  # so that the test can fail


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SMALL)
def test_under_vmap_as_alone(name, dtype):
    """Values, gradients and Hessian products of clients together and one by one."""
    model = SMALL[name][0]()
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    clients = [cast(model.init(seed), dtype) for seed in (0, 1)]
    batches = [batch_of(name, 3, dtype, seed) for seed in (0, 1)]
    stacked = {n: torch.stack([c[n] for c in clients]) for n in clients[0]}
    data = Batch(
        *(torch.stack([b[i] for b in batches]) for i in (0, 1)),
        torch.ones(2, 3, dtype=dtype),
    )

    def both(params, batch):
        gradient, product = gradient_and_hessian(model.loss, params, batch)
        return gradient, product(gradient)

    together = torch.vmap(both)(stacked, data)
    shared = torch.vmap(both, (None, 0))(clients[0], data)
    logits = torch.vmap(model.apply)(stacked, data.x)
    for row, (params, batch) in enumerate(zip(clients, batches, strict=True)):
        for trees, theta in ((together, params), (shared, clients[0])):
            for tree, alone in zip(trees, both(theta, batch), strict=True):
                assert_close({n: t[row] for n, t in tree.items()}, alone, tolerance)
        alone = {"logits": model.apply(params, batch.x)}
        assert_close({"logits": logits[row]}, alone, tolerance)


def test_foresight_changes_no_value():
    """A graph of the gradient can be had unannounced, only more slowly."""
    model = SMALL["characters"][0]()
    params, batch = model.init(0), batch_of("characters", 3)
    direction = direction_like(params)
    results = []
    for context in (second_order, torch.enable_grad):
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        with context():
            value = model.loss(leaves, batch)
        slopes = torch.autograd.grad(value, leaves.values(), create_graph=True)
        curved = torch.autograd.grad(slopes, leaves.values(), direction.values())
        results.append(dict(enumerate([value, *slopes, *curved])))
    assert_close(*results, 1e-6)


def test_evaluation_as_training():
    model = SMALL["vectors"][0]()
    params, batch = model.init(0), batch_of("vectors", 300)  # more than a block of rows
    for dtype in (torch.float32, torch.float64):
        theta, x = cast(params, dtype), batch.x.to(dtype)
        with torch.no_grad():
            logits = model.apply(theta, x)
        torch.testing.assert_close(logits, model.apply(theta, x))


def test_bad_initialization():
    with pytest.raises(ValueError, match="unknown initialization 'glorot'; one of"):
        character_lstm(5, initialization="glorot")


def test_ids_of_any_integer_type():
    model = SMALL["characters"][0]()
    params, batch = model.init(0), batch_of("characters", 3)
    logits = model.apply(params, batch.x)
    assert logits.shape == (3, 5)
    torch.testing.assert_close(logits, model.apply(params, batch.x.long()))
    assert not torch.equal(logits[0], logits[1])
    F.cross_entropy(logits, batch.y)
