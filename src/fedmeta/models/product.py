"""Matrix products on a CPU through oneDNN.

torch sends those of float32 to MKL, which is the slower of the two off Intel's own
processors: by 15 to 40 % on an AMD Zen 4, by a factor of two to three on a Zen 5.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils.flop_counter import register_flop_formula


def product(a: Tensor, b: Tensor) -> Tensor:
    """[n, k] times [m, k] transposed: [n, m]; differentiable any number of times."""
    if HAS_ONEDNN and a.device.type == "cpu" and a.dtype == b.dtype in FASTER:
        return _Product.apply(a, b)
    return a @ b.mT


FASTER = (torch.float32, torch.bfloat16)


class _Product(torch.autograd.Function):
    """Its derivatives are products again, and so differentiable by the same rule."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

    @staticmethod
    def setup_context(
        ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor
    ) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        for_a, for_b = ctx.needs_input_grad
        return (
            _product_like(a, cotangent, b.mT) if for_a else None,
            _product_like(b, cotangent.mT, a.mT) if for_b else None,
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], a: Tensor, b: Tensor
    ) -> tuple[Tensor, int]:
        a, b = (
            x if dim is None else x.movedim(dim, 0)
            for x, dim in zip((a, b), in_dims, strict=True)
        )
        return a @ b.mT, 0


def is_transformed() -> bool:
    """Whether torch.func is at work, which has rules of its own for some operators."""
    return torch._C._functorch.maybe_current_level() is not None


def _product_like(like: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The product in the layout of ``like``: sums of unlike layouts are slow."""
    return product(a, b) if like.is_contiguous() else product(b, a).mT


def _product_flops(a_shape: Any, b_shape: Any, *_: Any, **__: Any) -> int:
    return 2 * a_shape[0] * a_shape[1] * b_shape[0]


# The operator belongs to torch's compiler, and there are builds without it.
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)
if HAS_ONEDNN:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_product_flops)
