"""The stacked models of many users: their gradients against autograd."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedmeta.models.tabular import tabular
from fedmeta.recommenders.minibatches import side_by_side
from fedmeta.recommenders.stacked import (
    gradient_of,
    outputs_of,
    stack,
    start_level,
    unstack,
)

FEATURES, CLASSES = 4, 6
# Classes that are never used: 0, 2 and 4; 5; none; all but one.
Y = [[1, 3, 1, 5], [4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0], [2]]


def users(hidden):
    """Random parameters, equal for classes never used, and records of each."""
    generator = torch.Generator().manual_seed(0)
    model = tabular(FEATURES, CLASSES, hidden)
    for y in map(np.array, Y):
        params = {
            name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for name, p in model.init(0).items()
        }
        params = start_level(params, y)
        last = list(params)[-1]  # a bias
        params[last][[c for c in range(CLASSES) if c not in y]] = 0.7
        x = torch.randn(len(y), FEATURES, generator=generator, dtype=torch.float64)
        yield params, x, y


def parts(hidden):
    params, x, y = zip(*users(hidden), strict=True)
    outputs = [outputs_of(labels, CLASSES) for labels in y]
    return list(params), x, y, outputs


def test_outputs_by_hand():
    assert outputs_of(np.array([1, 3, 1, 5]), 6).tolist() == [3, 0, 3, 1, 3, 2]
    assert outputs_of(np.array([1, 0]), 2).tolist() == [0, 1]
    assert outputs_of(np.array([], dtype=int), 2).tolist() == [0, 0]


def test_weights_of_classes_never_used_start_from_zero():
    params = {"layer1.weight": torch.ones(3, 2), "layer1.bias": torch.ones(3)}
    level = start_level(params, np.array([2, 0]))
    assert level["layer1.weight"].tolist() == [[1, 1], [0, 0], [1, 1]]
    assert params["layer1.weight"].all()


@pytest.mark.parametrize("hidden", [None, 3])
def test_unstacking_undoes_stacking(hidden):
    params, *_, outputs = parts(hidden)
    for given, got in zip(
        params, unstack(stack(params, outputs), outputs), strict=True
    ):
        assert got.keys() == given.keys()
        for name, p in given.items():
            torch.testing.assert_close(got[name], p)


@pytest.mark.parametrize("hidden", [None, 3])
def test_gradient_is_autograds(hidden):
    params, x, y, outputs = parts(hidden)
    stacked = stack(params, outputs)
    inputs = [F.pad(records, (0, 1), value=1).numpy() for records in x]
    labels = [output.numpy()[own] for output, own in zip(outputs, y, strict=True)]
    everything = [np.arange(len(own))[None] for own in y]
    (batch,) = side_by_side(inputs, labels, everything)
    slope = gradient_of(stacked, outputs, [len(own) for own in y])(stacked, batch)
    assert {name: p.shape for name, p in slope.items()} == {
        name: p.shape for name, p in stacked.items()
    }
    # The difference that a step of size 1 makes to each user's parameters.
    moved = {name: p - slope[name] for name, p in stacked.items()}
    model = tabular(FEATURES, CLASSES, hidden)
    for user, after in enumerate(unstack(moved, outputs)):
        leaves = {name: p.requires_grad_() for name, p in params[user].items()}
        target = torch.from_numpy(y[user])
        F.cross_entropy(model.apply(leaves, x[user]), target).backward()
        for name, p in leaves.items():
            torch.testing.assert_close(p.detach() - after[name], p.grad)


def test_large_logits_do_not_overflow():
    params, x, y, outputs = parts(None)
    stacked = stack(params, outputs)
    stacked["first"][:-1] *= 1e4
    inputs = [F.pad(records, (0, 1), value=1).numpy() for records in x]
    labels = [output.numpy()[own] for output, own in zip(outputs, y, strict=True)]
    (batch,) = side_by_side(inputs, labels, [np.arange(len(own))[None] for own in y])
    slope = gradient_of(stacked, outputs, [len(own) for own in y])(stacked, batch)
    assert slope["first"].isfinite().all()
