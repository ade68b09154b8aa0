"""Arithmetic on nested dictionaries of tensors."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

tree_map = pytree.tree_map
tree_leaves = pytree.tree_leaves


def leaves_like(like: Any, tree: Any) -> list[Tensor]:
    """Leaves of ``tree`` in the order of ``like``, found by name.

    Dictionaries of equal keys may differ in order: those of a checkpoint are sorted.
    """
    return pytree.tree_structure(like).flatten_up_to(tree)


def tree_clone(tree: Any) -> Any:
    """Copy every tensor, so that the copy may be overwritten."""
    return tree_map(torch.clone, tree)


def tree_sub(a: Any, b: Any) -> Any:
    """Leaf by leaf ``a - b``."""
    return tree_map(torch.sub, a, b)


def tree_nbytes(tree: Any) -> int:
    """Bytes of all tensors: what sending the tree uncompressed costs."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(tree))


def is_finite(tree: Any) -> bool:
    """Whether all numbers of a tree are finite; one sum a tensor, no copy."""
    leaves = tree_leaves(tree)
    if not leaves or bool(
        torch.stack([x.sum().float() for x in leaves]).isfinite().all()
    ):
        return True
    # Finite numbers may have a sum that is not.
    return all(bool(leaf.isfinite().all()) for leaf in leaves)


def running_mean(mean: Any, tree: Any, count: int) -> Any:
    """Mean of ``count`` trees from that of all but the last, which it overwrites.

    Args:
        mean: of the trees before; None: there are none.
        tree: the last one.
        count: trees, with the last one.
    """
    if mean is None:
        return tree_clone(tree)
    return tree_map(lambda m, leaf: m.lerp_(leaf, 1 / count), mean, tree)


def weighted_mean(pairs: Iterable[tuple[Tensor, Any]]) -> Any:
    """Mean of ``(weight, tree)`` pairs, consumed as a stream: one sum is held.

    It is finite only if all weights and trees are.

    Raises:
        ValueError: if there is no pair, or the weights do not sum to a positive number.
    """
    total: Any = None
    weights = 0.0
    for weight, tree in pairs:
        share = float(weight)
        weights += share
        if total is None:
            total = tree_map(partial(torch.mul, other=share), tree)
        else:
            tree_map(partial(Tensor.add_, alpha=share), total, tree)
    if total is None or -math.inf < weights <= 0:
        raise ValueError(
            f"a weighted mean needs clients of positive weight, their sum is {weights}"
        )
    return tree_map(lambda leaf: leaf.div_(weights), total)
