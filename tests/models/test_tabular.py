"""Logistic regression and the small network against plain formulas."""

import pytest
import torch
from torch.func import grad, jvp, vmap
from torch.nn import functional as F

from fedmeta.core.model import among_highest
from fedmeta.core.types import Batch
from fedmeta.models.tabular import tabular

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tensor([0, 2, 1, -1, 2, 0])


def double(params):
    return {name: p.double() for name, p in params.items()}


@pytest.mark.parametrize(("hidden", "count"), [(None, 4_160), (64, 9_256)])
def test_parameter_counts_of_the_paper(hidden, count):
    assert sum(p.numel() for p in tabular(103, 40, hidden).init(0).values()) == count


def test_logits_are_those_of_the_plain_formula():
    model = tabular(5, 3, hidden=4)
    p = double(model.init(7))
    p["layer1.bias"] += 0.1
    hidden = torch.relu(X @ p["layer1.weight"].T + p["layer1.bias"])
    expected = hidden @ p["layer2.weight"].T + p["layer2.bias"]
    torch.testing.assert_close(model.apply(p, X), expected)


def test_logistic_regression_starts_from_zero_and_the_network_by_seed():
    assert all((p == 0).all() for p in tabular(5, 3).init(3).values())
    one, same, other = (tabular(5, 3, 4).init(seed) for seed in (3, 3, 4))
    assert torch.equal(one["layer1.weight"], same["layer1.weight"])
    assert not torch.equal(one["layer1.weight"], other["layer1.weight"])


def test_a_record_without_a_class_teaches_nothing_and_is_a_miss():
    model = tabular(5, 3, hidden=4)
    p = double(model.init(0))
    known = Y >= 0
    mean = F.cross_entropy(model.apply(p, X[known]), Y[known])
    assert model.loss(p, Batch(X, Y)) == pytest.approx(float(mean) * 5 / 6)
    everything = {"accuracy": model.apply(p, X).argmax(-1) == Y, "top4": known}
    for name, hits in everything.items():
        total, count = model.score(p, Batch(X, Y))[name]
        assert (total, count) == (hits.sum(), 6)


def test_hessian_product_agrees_with_differences_also_under_vmap():
    model = tabular(5, 3, hidden=4)
    p = double(model.init(1))
    v = {name: torch.randn_like(q) for name, q in p.items()}

    def slope(params):
        return grad(model.loss)(params, Batch(X, Y))

    product = jvp(slope, (p,), (v,))[1]
    h = 1e-6
    up, down = (slope({n: p[n] + sign * h * v[n] for n in p}) for sign in (1.0, -1.0))
    both = Batch(
        X[None].expand(2, -1, -1), Y[None].expand(2, -1), torch.ones(2, len(Y)).double()
    )
    batched = vmap(lambda batch: jvp(lambda q: grad(model.loss)(q, batch), (p,), (v,)))
    for name in p:
        expected = (up[name] - down[name]) / (2 * h)
        torch.testing.assert_close(product[name], expected, atol=1e-7, rtol=1e-5)
        torch.testing.assert_close(batched(both)[1][name][1], product[name])


def test_the_highest_scores_by_hand():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    y = torch.tensor([2, 1, 2])
    assert among_highest(scores, y, 2).tolist() == [True, True, False]
    assert among_highest(scores, y, 1).tolist() == [False, False, False]
    assert not among_highest(scores, torch.tensor([-1, -1, -1]), 3).any()
    assert not among_highest(scores * torch.nan, y, 2).any()
