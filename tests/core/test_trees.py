"""Trees of tensors and their weighted means."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import assert_trees_equal

from fedmeta.core.trees import tree_clone, tree_nbytes, tree_sub, weighted_mean


def leaf(*values):
    return {"theta": {"w": torch.tensor(values)}}


def test_weighted_mean_by_hand():
    # (1 * 2 + 3 * 6) / 4 = 5
    pairs = [(torch.tensor(1.0), leaf(2.0)), (torch.tensor(3.0), leaf(6.0))]
    assert weighted_mean(pairs)["theta"]["w"] == 5


def test_the_streamed_trees_are_not_changed():
    trees = [leaf(2.0), leaf(6.0), leaf(1.0)]
    weighted_mean((torch.tensor(2.0), tree) for tree in trees)
    assert_trees_equal(trees, [leaf(2.0), leaf(6.0), leaf(1.0)])


def test_one_tree_at_a_time_is_held():
    alive = []

    def stream():
        for value in range(20):
            yield torch.tensor(1.0), leaf(float(value))
            alive.append(value)

    assert weighted_mean(stream())["theta"]["w"] == 9.5
    assert len(alive) == 20


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(-9, 9)), min_size=1, max_size=9)
)
def test_weights_count_up_to_a_common_factor(pairs):
    def mean(scale):
        return weighted_mean(
            (torch.tensor(scale * w), {"w": torch.tensor([v], dtype=torch.float64)})
            for w, v in pairs
        )["w"]

    torch.testing.assert_close(mean(1), mean(7))
    wanted = sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    assert float(mean(1)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("pairs", [[], [(torch.tensor(0.0), leaf(1.0))]])
def test_no_clients_of_positive_weight(pairs):
    with pytest.raises(ValueError, match="positive weight"):
        weighted_mean(pairs)


def test_bytes_copies_and_differences():
    tree = {
        "theta": {"w": torch.ones(3, 2)},
        "step": torch.zeros((), dtype=torch.float64),
    }
    assert tree_nbytes(tree) == 4 * 6 + 8
    copy = tree_clone(tree)
    copy["theta"]["w"].zero_()
    assert tree["theta"]["w"].eq(1).all()
    assert tree_sub(tree, copy)["theta"]["w"].eq(1).all()
