"""Optimisers against torch.optim, with and without the mask of padded clients."""

import copy
from functools import partial

import pytest
import torch
from toys import assert_trees_close, assert_trees_equal, normal

from fedmeta.core.optimizers import OPTIMIZERS, adam, grouped, sgd
from fedmeta.core.trees import tree_clone

STEPS = 6
THEIRS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}
# Nested as meta-parameters are.
SHAPES = {"theta": {"w": (3, 2), "b": (2,)}, "alpha": {"w": (3, 2), "b": (2,)}}


def tree(seed, dtype=torch.float64):
    return {
        group: {
            name: normal(*shape, seed=seed + 10 * len(name + group), dtype=dtype)
            for name, shape in shapes.items()
        }
        for group, shapes in SHAPES.items()
    }


def walk(optimizer, params, active=(None,) * STEPS):
    """The way of the parameters over steps on gradients that vary."""
    params, way = tree_clone(params), []
    state = optimizer.init(params)
    dtype = params["theta"]["w"].dtype
    for number, now in enumerate(active):
        params, state = optimizer.update(tree(number, dtype), state, params, now)
        way.append(copy.deepcopy(params))
    return way


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)]
)
def test_steps_are_those_of_torch(name, dtype, rtol):
    ours = walk(OPTIMIZERS[name](0.1), tree(99, dtype))
    leaves = [p for group in tree(99, dtype).values() for p in group.values()]
    theirs = THEIRS[name](leaves, lr=0.1)
    for number, params in enumerate(ours):
        slopes = [g for group in tree(number, dtype).values() for g in group.values()]
        for leaf, slope in zip(leaves, slopes, strict=True):
            leaf.grad = slope
        theirs.step()
        moved = [p for group in params.values() for p in group.values()]
        torch.testing.assert_close(moved, leaves, rtol=rtol, atol=0.1 * rtol)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-6)]
)
def test_masked_is_unmasked_where_all_steps_count(name, dtype, rtol):
    plain = walk(OPTIMIZERS[name](0.1), tree(99, dtype))
    masked = walk(
        OPTIMIZERS[name](0.1), tree(99, dtype), [torch.ones((), dtype=dtype)] * STEPS
    )
    for a, b in zip(masked, plain, strict=True):
        assert_trees_close(a, b, rtol=rtol, atol=0.1 * rtol)


def test_adam_without_momentum():
    plain = walk(adam(0.1, b1=0.0), tree(99))
    masked = walk(adam(0.1, b1=0.0), tree(99), [torch.ones(()).double()] * STEPS)
    assert_trees_close(masked[-1], plain[-1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_that_do_not_count_leave_no_trace(name):
    off, on = torch.zeros(()).double(), torch.ones(()).double()

    def last(active):
        params = tree(99)
        state = OPTIMIZERS[name](0.1).init(params)
        for now in active:
            params, state = OPTIMIZERS[name](0.1).update(tree(0), state, params, now)
        return params, state

    assert_trees_equal(last([off])[0], tree(99))
    assert_trees_equal(last([off, on, off, on, off]), last([on, on]))


def backwards(tree):
    if isinstance(tree, dict):
        return {name: backwards(tree[name]) for name in reversed(tree)}
    return tree


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_are_found_by_name(name):
    """The parts of a checkpoint come in another order than those of a gradient."""
    optimizer = OPTIMIZERS[name](0.1)
    state = optimizer.init(tree(99))
    wanted, wanted_state = optimizer.update(tree(0), state, tree(99), None)
    state = backwards(optimizer.init(tree(99)))
    moved, state = optimizer.update(tree(0), state, backwards(tree(99)), None)
    assert_trees_equal(moved, wanted)
    assert_trees_equal(state, wanted_state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_may_lie_otherwise_in_memory(name):
    params = {"w": normal(2, 3, 4, 4, seed=1)}
    slope = normal(2, 3, 4, 4, seed=2)
    ends = []
    for laid_out in (slope, slope.to(memory_format=torch.channels_last)):
        optimizer = OPTIMIZERS[name](0.1)
        state = optimizer.init(params)
        ends.append(
            optimizer.update({"w": laid_out}, state, tree_clone(params), None)[0]
        )
    assert_trees_equal(*ends)


def test_first_step_of_adam_by_hand():
    """Moments are corrected for their start at zero: a step of lr along the sign."""
    params = {"w": torch.tensor([1.0, 1.0, 1.0]).double()}
    slopes = {"w": torch.tensor([4.0, -0.1, 0.0]).double()}
    optimizer = adam(0.1)
    moved, state = optimizer.update(slopes, optimizer.init(params), params, None)
    torch.testing.assert_close(
        moved["w"], torch.tensor([0.9, 1.1, 1.0]).double(), rtol=1e-6, atol=0
    )
    assert state["step"]["w"] == 1


def test_groups_have_optimizers_of_their_own():
    both = grouped({"theta": sgd(0.5), "alpha": adam(0.1)})
    params = tree(99)
    moved, state = both.update(tree(0), both.init(params), tree_clone(params), None)
    torch.testing.assert_close(
        moved["theta"]["w"], params["theta"]["w"] - 0.5 * tree(0)["theta"]["w"]
    )
    torch.testing.assert_close(
        (moved["alpha"]["w"] - params["alpha"]["w"]).abs(),
        torch.full((3, 2), 0.1).double(),
        rtol=1e-5,
        atol=0,
    )
    assert set(state) == {"theta", "alpha"}


def test_adam_heeds_the_layout_of_gradients():
    # Convolutions on a CPU return gradients with channels last; weights differ.
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    grads = torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2)
    turned = grads.to(memory_format=torch.channels_last)
    assert turned.stride() != weight.stride()
    optimizer = adam(0.1)
    moved = [
        optimizer.update(g, optimizer.init(weight), weight.clone(), None)[0]
        for g in (grads, turned)
    ]
    assert torch.equal(*moved)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("active", [None, torch.ones(()).double()])
def test_a_decayed_rate_is_that_rate(name, active):
    params, gradient = tree(99), tree(0)
    ways = []
    for optimizer, number in (
        (OPTIMIZERS[name](0.1, half_life=4), 9),
        (OPTIMIZERS[name](0.025), 1),
    ):
        state = optimizer.init(params)
        ways.append(
            optimizer.update(gradient, state, tree_clone(params), active, number)[0]
        )
    assert_trees_equal(*ways)
