"""Trees of parameters as named arrays, and back in the order of a known tree."""

from typing import Any

import torch

from fedmeta.checkpoints import flatten, unflatten
from fedmeta.core.types import MetaParams
from fedmeta.runtime.federation.messages import Arrays


def arrays_of(tree: dict[str, Any]) -> Arrays:
    """The leaves of a tree by their paths, such as "theta/dense.weight"."""
    return {name: leaf.detach().cpu().numpy() for name, leaf in flatten(tree)}


def tensors_of(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Copies: NumPy reads what it was sent without the right to write there."""
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def tree_like(like: MetaParams, arrays: Arrays) -> MetaParams:
    """The tree of ``arrays``, in the order of ``like`` and of its shapes and types.

    Raises:
        ValueError: naming the first leaf that is missing, too many, or of another
            shape or type.
    """
    leaves = dict(flatten(like))
    if names := leaves.keys() ^ arrays.keys():
        raise ValueError(f"{min(names)} is missing or not known")
    for name, leaf in leaves.items():
        found = tuple(arrays[name].shape), str(arrays[name].dtype)
        wanted = tuple(leaf.shape), str(leaf.dtype).removeprefix("torch.")
        if found != wanted:
            raise ValueError(f"{name} is {found[1]} of shape {found[0]}, not {wanted}")
    return unflatten(tensors_of({name: arrays[name] for name in leaves}))
