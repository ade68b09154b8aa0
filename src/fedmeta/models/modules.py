"""A network written as a `torch.nn.Module`, as the pure functions that a `Model` is."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from fedmeta.core.bounds import Count
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Params
from fedmeta.models.module_checks import check_module, parameters_of
from fedmeta.models.product import is_transformed

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
# On CPUs too, whatever their names say.
FUSED_ATTENTION = (
    torch.backends.cuda.enable_flash_sdp,
    torch.backends.cuda.enable_mem_efficient_sdp,
    torch.backends.cuda.enable_cudnn_sdp,
)


def from_module(
    build: Callable[[], nn.Module],
    record: Sequence[int],
    head: str | None,
    *,
    dtype: torch.dtype = torch.float32,
    top: Count | None = None,
) -> Model:
    """A classifier from a module of PyTorch's.

    Args:
        build: makes the module, whose ``forward`` takes records [b, *record] to logits
            [b, classes].
        record: shape of a record, such as (1, 28, 28).
        head: name of the module's last layer, whose input `Model.features` is. None:
            the model has no features, which kNN-Per needs.
        dtype: of records; integers for a network that starts with an embedding.
        top: as of `fedmeta.core.model.classifier`.

    Returns:
        Model whose ``apply`` takes records of any shape of as many numbers. A seed
        gives the weights that PyTorch draws after ``torch.manual_seed``. Floating-point
        operations are those of products and convolutions that PyTorch counts. Calls of
        it turn PyTorch's fused attention off, for the whole process.

    Raises:
        TypeError: for a module in place of what makes one.
        ValueError: for a module that is no function of its parameters and of one record
            at a time, that draws or changes anything, whose second derivatives are
            wrong, or of which ``head`` is not the last layer. By ``apply``: for
            recurrent layers of PyTorch's under ``torch.vmap``.
    """

    def made(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build()

    def init(seed: int) -> Params:
        return parameters_of(made(seed))

    def call(module: nn.Module, params: Params, x: Tensor) -> Tensor:
        if recurrent and is_transformed():
            # torch 2.13: second derivatives by a bias of nn.LSTM are off by 5 %.
            raise ValueError(
                "PyTorch's vmap does not differentiate recurrent layers twice: set"
                " training.backend to threaded or sequential"
            )
        _part_attention()
        logits: Tensor = functional_call(
            module, params, (x.reshape(len(x), *record),), strict=True
        )
        return logits

    def apply(params: Params, x: Tensor) -> Tensor:
        # A copy: a call puts the parameters into the module, and clients are threads.
        return call(deepcopy(empty), params, x)

    def features(params: Params, x: Tensor) -> Tensor:
        module, seen = deepcopy(empty), []
        module.get_submodule(head or "").register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0])
        )
        call(module, params, x)
        return seen[-1]

    if isinstance(build, nn.Module):
        raise TypeError("build: expected a function that makes a module, or its class")
    module, generator = made(0), torch.Generator().manual_seed(0)
    records = (2 * torch.rand(3, *record, generator=generator)).to(dtype)
    _part_attention()
    check_module(module, [made(0), made(1)], records, head)
    recurrent = any(isinstance(m, RECURRENT) for m in module.modules())
    flops = _forward_flops(module, records[:1])
    # Shapes, without memory; what layers share, they go on sharing.
    shapes = {id(p): nn.Parameter(p.to("meta")) for p in module.parameters()}
    empty = deepcopy(module, shapes)
    return classifier(init, apply, flops, top, None if head is None else features)


def _part_attention() -> None:
    """Attention as products and a softmax: fused, it has no second derivative."""
    for enable in FUSED_ATTENTION:
        enable(False)


def _forward_flops(module: nn.Module, record: Tensor) -> ForwardFlops:
    # In double precision, since oneDNN's recurrent layers are not counted.
    module = deepcopy(module).double()
    record = record.double() if record.is_floating_point() else record
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        module(record)
    with FlopCounterMode(display=False) as both:
        total = module(record).sum()
        torch.autograd.grad(total, [*module.parameters()], allow_unused=True)
    # A backward pass takes twice the operations, but for layers that read the data.
    once = forward.get_total_flops()
    return ForwardFlops(once, 3 * once - both.get_total_flops())
