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
from fedmeta.models.product import is_transformed

# Layers whose whole work is one product with their input.
READS_ONCE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# On CPUs too, whatever their names say.
FUSED_ATTENTION = (
    torch.backends.cuda.enable_flash_sdp,
    torch.backends.cuda.enable_mem_efficient_sdp,
    torch.backends.cuda.enable_cudnn_sdp,
)


def from_module(
    build: Callable[[], nn.Module],
    record: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    head: str | None = None,
    top: Count | None = None,
) -> Model:
    """A classifier from a module of PyTorch's.

    Args:
        build: makes the module, whose ``forward`` takes records [b, *record] to logits
            [b, classes].
        record: shape of a record, such as (1, 28, 28).
        dtype: of records; integers for a network that starts with an embedding.
        head: name of the module's last layer, whose input `Model.features` is. None:
            the model has no features, which kNN-Per needs.
        top: as of `fedmeta.core.model.classifier`.

    Returns:
        Model whose ``apply`` takes records of any shape of as many numbers. A seed
        gives the weights that PyTorch draws after ``torch.manual_seed``. Floating-point
        operations are those of products and convolutions that PyTorch counts. Calls of
        it turn PyTorch's fused attention off, for the whole process.

    Raises:
        ValueError: for a module that is no function of its parameters and of one record
            at a time: with buffers or frozen parameters, dropout, or statistics of a
            batch; if it has no layer ``head``, or its logits another shape. By
            ``apply``: for recurrent layers of PyTorch's under ``torch.vmap``.
    """

    def made(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build()

    def init(seed: int) -> Params:
        return {name: p.detach() for name, p in made(seed).named_parameters()}

    def call(module: nn.Module, params: Params, x: Tensor) -> Tensor:
        if recurrent and is_transformed():
            # torch 2.13: second derivatives by a bias of nn.LSTM are off by 5 %.
            raise ValueError(
                "PyTorch's vmap does not differentiate recurrent layers twice: set"
                " training.backend to threaded or sequential"
            )
        # Attention as products and a softmax: fused, it has no second derivative.
        for enable in FUSED_ATTENTION:
            enable(False)
        x = x.reshape(-1, *record)
        logits: Tensor = functional_call(module, params, (x,), strict=True)
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

    module, generator = made(0), torch.Generator().manual_seed(0)
    records = (2 * torch.rand(3, *record, generator=generator)).to(dtype)
    _check(module, records, head)
    flops = _forward_flops(module, records[:1])
    recurrent = any(isinstance(m, nn.RNNBase) for m in module.modules())
    # Shapes, without memory; what layers share, they go on sharing.
    shapes = {id(p): nn.Parameter(p.to("meta")) for p in module.parameters()}
    empty = deepcopy(module, shapes)
    return classifier(init, apply, flops, top, None if head is None else features)


def _check(module: nn.Module, records: Tensor, head: str | None) -> None:
    name = type(module).__name__
    if buffers := ", ".join(n for n, _ in module.named_buffers()):
        raise ValueError(
            f"{name} has buffers ({buffers}), which no client sends: make constants in"
            " forward, and use GroupNorm or LayerNorm in place of BatchNorm"
        )
    if frozen := [n for n, p in module.named_parameters() if not p.requires_grad]:
        raise ValueError(
            f"{name} has parameters without gradients ({', '.join(frozen)}); to leave"
            " layers as they are, name them in the option frozen of fedavg"
        )
    if head is not None and head not in dict(module.named_modules()):
        layers = ", ".join(n for n, _ in module.named_modules() if n)
        raise ValueError(f"{name} has no layer {head!r}; its layers are {layers}")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits, again, two = module(records), module(records), module(records[:2])
    if not isinstance(logits, Tensor) or logits.shape[:-1] != (len(records),):
        what = list(logits.shape) if isinstance(logits, Tensor) else type(logits)
        raise ValueError(
            f"{name} takes three records to {what}, not to logits [3, classes]"
        )
    if not torch.equal(logits, again):
        raise ValueError(
            f"{name} takes the same records to different logits: leave dropout out, for"
            " a client's update is a function of its parameters and records"
        )
    if not torch.allclose(logits[:2], two, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"what {name} says of a record depends on the others of its batch: use"
            " GroupNorm or LayerNorm in place of BatchNorm"
        )


def _forward_flops(module: nn.Module, record: Tensor) -> ForwardFlops:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(record)
    # Counted by the names of modules below the root's class.
    root = type(module).__name__
    layers = {f"{root}.{n}".rstrip("."): m for n, m in module.named_modules()}
    first = 0
    for name, counts in counter.get_flop_counts().items():
        if isinstance(layers.get(name), READS_ONCE) and record.is_floating_point():
            first = sum(counts.values())
            break
    return ForwardFlops(counter.get_total_flops(), first)
