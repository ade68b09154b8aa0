"""Batches of many users: what is drawn, and how it lies side by side."""

import numpy as np
import pytest
import torch

from fedmeta.recommenders import minibatches
from fedmeta.recommenders.minibatches import draw, side_by_side


def test_batches_are_cut_from_shuffled_passes():
    batches = draw(5, 3, 10, np.random.default_rng(0))
    assert batches.shape == (10, 3)
    passes = batches.reshape(6, 5)
    assert (np.sort(passes) == range(5)).all()
    assert not (passes == passes[0]).all()


def test_fewer_steps_have_the_first_of_the_batches():
    few, many = (draw(5, 3, n, np.random.default_rng(0)) for n in (4, 10))
    assert (few == many[:4]).all()


def test_only_so_many_are_different(monkeypatch):
    assert len(draw(5, 3, 10_000, np.random.default_rng(0))) == 100
    monkeypatch.setattr(minibatches, "DIFFERENT", 7)
    assert len(draw(5, 3, 10_000, np.random.default_rng(0))) == 7


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_users_lie_side_by_side_and_empty_rows_fill_up(scale):
    x = [scale * np.eye(3, 2, dtype=np.float32), np.ones((2, 2), np.float32)]
    y = [np.array([4, 5, 6]), np.array([7, 8])]
    drawn = [np.array([[2, 0], [1, 1]]), np.array([[1], [0]])]
    first, second = side_by_side(x, y, drawn)
    # Rows: two of user 0, then one record of user 1 and an empty row.
    expected = torch.zeros(4, 4)
    expected[1, 0] = scale
    expected[2, 2:] = 1
    assert torch.equal(first.x @ torch.eye(4), expected)
    assert torch.equal(first.x_transposed @ torch.eye(4), expected.T)
    assert first.y.tolist() == [[6, 4], [8, 0]]
    expected = torch.zeros(4, 4)
    expected[:2, 1] = scale
    expected[2, 2:] = 1
    assert torch.equal(second.x @ torch.eye(4), expected)
    assert torch.equal(second.x_transposed @ torch.eye(4), expected.T)
    assert second.y.tolist() == [[5, 5], [7, 0]]
