"""Losses, networks and clients small enough to be checked by hand or by oracle.

Everything is generated here.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fedmeta.core.gradients import masked_mean
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Batch, MakeTask, Params, Task

FEATURES, HIDDEN, CLASSES = 3, 4, 3
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def scalar_loss(params: Params, batch: Batch) -> Tensor:
    """Mean of (theta - target)² / 2: slope theta - target, curvature 1."""
    return masked_mean((params["w"] - batch.x) ** 2 / 2, batch.mask)


def scalar_batch(*targets: float) -> Batch:
    x = torch.tensor(targets, dtype=torch.float64)
    return Batch(x, torch.zeros(len(x), dtype=torch.int64))


def quadratic_loss(params: Params, batch: Batch) -> Tensor:
    """Mean of (theta - a)ᵀ A (theta - a) / 2 over rows [A | a] of a batch."""
    matrix, centre = batch.x[..., :-1], batch.x[..., -1]  # [b, d, d], [b, d]
    offset = params["w"] - centre
    values = torch.einsum("bi,bij,bj->b", offset, matrix, offset) / 2
    return masked_mean(values, batch.mask)


def quadratic_batch(matrix: Tensor, centre: Tensor) -> Batch:
    x = torch.cat([matrix, centre[:, None]], dim=1)[None]  # [1, d, d + 1]
    return Batch(x, torch.zeros(1, dtype=torch.int64))


def linear_loss(params: Params, batch: Batch) -> Tensor:
    """Mean of theta . x: no curvature."""
    return masked_mean(batch.x @ params["w"], batch.mask)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def _drawn(shapes: dict[str, tuple[int, ...]]) -> Callable[[int], Params]:
    def init(seed: int) -> Params:
        return {
            name: 0.6 * normal(*shape, seed=100 * seed + i)
            for i, (name, shape) in enumerate(shapes.items())
        }

    return init


def tanh_net(hidden: int = HIDDEN, features: int = FEATURES) -> Model:
    """One hidden layer: smooth, with curvature."""

    def features_of(params: Params, x: Tensor) -> Tensor:
        return torch.tanh(x @ params["w1"] + params["b1"])

    def apply(params: Params, x: Tensor) -> Tensor:
        return features_of(params, x) @ params["w2"]

    shapes = {"w1": (features, hidden), "b1": (hidden,), "w2": (hidden, CLASSES)}
    first = 2 * features * hidden
    flops = ForwardFlops(first + 2 * hidden * CLASSES, first)
    return classifier(_drawn(shapes), apply, flops, features=features_of)


def smooth_convolution() -> Model:
    """The stages of the CNN without its kinks: convolution, mean-pooling, tanh."""

    def apply(params: Params, x: Tensor) -> Tensor:
        x = F.conv2d(x.reshape(-1, 1, 4, 4), params["conv"], padding=1)
        x = torch.tanh(F.avg_pool2d(x, 2)).flatten(1)  # [b, 2 * 4]
        return x @ params["linear"]

    shapes = {"conv": (2, 1, 3, 3), "linear": (8, CLASSES)}
    return classifier(_drawn(shapes), apply, ForwardFlops(0, 0))


def labelled(
    rows: int, seed: int, features: int = FEATURES, dtype: torch.dtype = torch.float64
) -> Batch:
    x = normal(rows, features, seed=seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    return Batch(x, torch.randint(CLASSES, (rows,), generator=generator))


SIZES = {"ann": (3, 5), "bob": (5, 2), "cy": (1, 7), "dee": (4, 4), "eve": (7, 9)}


def task_of(client: str, round_number: int, dtype: torch.dtype, passes: int) -> Task:
    """A client's task: its classes lie along directions that vary from client to
    client, so that both a shared and a personal part can be learned."""
    support, query = SIZES[client]
    seed = 17 * sorted(SIZES).index(client) + 1000 * round_number
    x = normal(support + query, FEATURES, seed=seed)
    own = normal(FEATURES, CLASSES, seed=sorted(SIZES).index(client) + 1)
    y = (x @ (normal(FEATURES, CLASSES, seed=0) + 0.5 * own)).argmax(-1)
    batch = Batch(x.to(dtype), y)
    generator = torch.Generator().manual_seed(seed)
    orders = [
        torch.randperm(support + query, generator=generator) for _ in range(passes)
    ]
    return Task(
        Batch(batch.x[:support], y[:support]),
        Batch(batch.x[support:], y[support:]),
        torch.stack(orders) if orders else torch.zeros(0, support + query).long(),
    )


def tasks(dtype: torch.dtype = torch.float64, passes: int = 2) -> MakeTask:
    return lambda client, number: task_of(client, number, dtype, passes)


def cast(tree: dict, dtype: torch.dtype) -> dict:
    return {
        k: cast(v, dtype) if isinstance(v, dict) else v.to(dtype)
        for k, v in tree.items()
    }


def flat(tree: Params) -> Tensor:
    return torch.cat([leaf.reshape(-1) for leaf in tree.values()])


def unflat(vector: Tensor, like: Params) -> Params:
    sizes = [math.prod(leaf.shape) for leaf in like.values()]
    parts = vector.split(sizes)
    return {n: p.reshape(like[n].shape) for n, p in zip(like, parts, strict=True)}


def finite_differences(
    function: Callable[[Params], float], at: Params, step: float = 1e-5
) -> Params:
    """Central differences, one number at a time; float64: right to about 1e-9."""
    point = flat(at)
    slopes = torch.empty_like(point)
    for i in range(len(point)):
        nudge = torch.zeros_like(point)
        nudge[i] = step
        up, down = (
            function(unflat(point + nudge, at)),
            function(unflat(point - nudge, at)),
        )
        slopes[i] = (up - down) / (2 * step)
    return unflat(slopes, at)


def assert_trees_close(a, b, **tolerance) -> None:
    """Same names, shapes and, within a tolerance, values."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert_trees_close(value, b[name], **tolerance)
    else:
        torch.testing.assert_close(a, b, **tolerance)


def assert_trees_equal(a, b) -> None:
    assert_trees_close(a, b, rtol=0, atol=0, equal_nan=True)
