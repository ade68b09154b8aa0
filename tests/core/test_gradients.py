"""Gradients and Hessian products: in chunks or whole, masked or not."""

import pytest
import torch
from toys import (
    assert_trees_close,
    labelled,
    normal,
    quadratic_batch,
    quadratic_loss,
    scalar_batch,
    tanh_net,
)

from fedmeta.core.gradients import (
    gradient_and_hessian,
    gradient_and_loss,
    masked_mean,
    masked_sum,
    slices,
)
from fedmeta.core.trees import tree_map

EXACT = {"rtol": 1e-12, "atol": 1e-14}
MODEL = tanh_net()


def test_closed_form_of_a_quadratic():
    a = normal(4, 4, seed=1)
    curvature, centre, theta, v = a @ a.mT, *(normal(4, seed=s) for s in (2, 3, 4))
    batch = quadratic_batch(curvature, centre)
    gradient, product = gradient_and_hessian(quadratic_loss, {"w": theta}, batch)
    torch.testing.assert_close(gradient["w"], curvature @ (theta - centre))
    torch.testing.assert_close(product({"w": v})["w"], curvature @ v)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk", [1, 2, 3, 6, 7, 100])
def test_chunks_change_nothing(chunk, masked):
    theta, batch = MODEL.init(1), labelled(7, seed=2)
    if masked:  # the last chunks may be padding alone
        batch = batch._replace(mask=torch.tensor([1, 0, 1, 1, 0, 0, 0]).double())
    vector = tree_map(lambda p: normal(*p.shape, seed=3), theta)
    whole, product = gradient_and_hessian(MODEL.loss, theta, batch)
    parts, chunked_product = gradient_and_hessian(MODEL.loss, theta, batch, chunk)
    assert_trees_close(parts, whole, **EXACT)
    assert_trees_close(chunked_product(vector), product(vector), **EXACT)
    whole, loss = gradient_and_loss(MODEL.loss, theta, batch)
    parts, chunked_loss = gradient_and_loss(MODEL.loss, theta, batch, chunk)
    assert_trees_close(parts, whole, **EXACT)
    torch.testing.assert_close(chunked_loss, loss, **EXACT)


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_batch_of_padding_alone_has_no_slope(chunk):
    batch = labelled(5, seed=2)._replace(mask=torch.zeros(5).double())
    gradient, product = gradient_and_hessian(MODEL.loss, MODEL.init(1), batch, chunk)
    for leaf in (*gradient.values(), *product(MODEL.init(2)).values()):
        assert leaf.eq(0).all()


def test_slices_cover_a_batch_in_order():
    batch = scalar_batch(*range(5))._replace(mask=torch.ones(5))
    parts = list(slices(batch, 2))
    assert [len(part.y) for part in parts] == [2, 2, 1]
    assert torch.cat([part.x for part in parts]).tolist() == [0, 1, 2, 3, 4]
    assert [len(part.mask) for part in parts] == [2, 2, 1]
    assert list(slices(batch, None)) == list(slices(batch, 5)) == [batch]


def test_masked_mean_and_sum_by_hand():
    values, mask = torch.tensor([1.0, 5.0, 9.0]), torch.tensor([1.0, 1.0, 0.0])
    assert masked_mean(values, mask) == 3
    assert masked_mean(values, None) == 5
    assert masked_mean(values, torch.zeros(3)) == 0
    assert masked_sum(values, mask).tolist() == [6, 2]
    assert masked_sum(values, None).tolist() == [15, 3]
