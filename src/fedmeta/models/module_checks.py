"""What a `torch.nn.Module` must be to be trained by clients, tried on three records.

Clients share parameters and nothing else, and a meta-gradient is the derivative of a
function of them, so a module has to be such a function. PyTorch gets a few second
derivatives wrong without a word, which only a comparison shows.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from fedmeta.core.types import Params

MOVED = 0.1  # deviation by which parameters are moved: initial ones may hide a layer
STEP = 1e-6  # of a difference of gradients, in double precision
TOLERANCE = 1e-3  # of second derivatives, relative to the greatest


def parameters_of(module: nn.Module) -> Params:
    """Copies of the parameters by name, without gradients."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def check_module(
    module: nn.Module, others: Sequence[nn.Module], records: Tensor, head: str | None
) -> None:
    """Refuse a module that clients could not train, or would train wrongly.

    Args:
        module: built after some seed.
        others: built after the same seed, and after another.
        records: [3, ...].
        head: the name of its last layer, or None.

    Raises:
        ValueError: saying why.
    """
    name = type(module).__name__
    if any(is_lazy(p) for p in module.parameters()):
        raise ValueError(f"{name} has lazy layers: give their sizes")
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
    try:
        _check_function(module, others, records)
        if head is not None:
            _check_head(module, records, head)
        _check_derivatives(module, records)
    except (RuntimeError, TypeError, IndexError, NotImplementedError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        shape = list(records.shape[1:])
        raise ValueError(
            f"{name} cannot be trained on records {shape}: {problem}"
        ) from error


def _check_function(
    module: nn.Module, others: Sequence[nn.Module], records: Tensor
) -> None:
    name, params, given = type(module).__name__, parameters_of(module), records.clone()
    same, other = others
    if any((params[n] != p).any() for n, p in parameters_of(same).items()):
        raise ValueError(
            f"{name} has other weights when it is built again after the same"
            " torch.manual_seed: draw them by PyTorch"
        )
    generator = torch.Generator().manual_seed(1)
    for p in params.values():
        p.add_(torch.randn(p.shape, generator=generator).to(p), alpha=MOVED)
    before = {n: p.clone() for n, p in params.items()}
    state = torch.get_rng_state()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = functional_call(module, params, (records,))
        drawn = not torch.equal(torch.get_rng_state(), state)
        if not isinstance(logits, Tensor) or logits.shape[:-1] != (len(records),):
            what = list(logits.shape) if isinstance(logits, Tensor) else type(logits)
            raise ValueError(
                f"{name} takes three records to {what}, not to logits [3, classes]"
            )
        two = functional_call(module, params, (records[:2],))
        otherwise = functional_call(other, params, (records,))
    if drawn:
        raise ValueError(
            f"{name} draws random numbers: leave dropout out, for a client's update is"
            " a function of its parameters and records"
        )
    if not torch.equal(records, given):
        raise ValueError(f"{name} changes the records that it is given")
    if any((before[n] != p).any() for n, p in params.items()):
        raise ValueError(f"{name} changes its parameters when it is called")
    if not logits.isfinite().all():
        raise ValueError(f"{name} has logits that are not finite")
    if not torch.allclose(logits[:2], two, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"what {name} says of a record depends on the others of its batch: use"
            " GroupNorm or LayerNorm in place of BatchNorm"
        )
    if not torch.equal(logits, otherwise):
        raise ValueError(
            f"{name} has more than its parameters, which the seed changes and no client"
            " trains; put layers of a list into nn.ModuleList"
        )


def _check_head(module: nn.Module, records: Tensor, head: str) -> None:
    name, layers = type(module).__name__, dict(module.named_modules())
    if not head or head not in layers:
        known = ", ".join(n for n in layers if n)
        raise ValueError(f"{name} has no layer {head!r}; its layers are {known}")
    seen: list[tuple[Tensor, Tensor]] = []
    hook = layers[head].register_forward_hook(
        lambda _, inputs, output: seen.append((*inputs[:1], output))
    )
    with torch.no_grad():
        logits = module(records)
    hook.remove()
    if [len(s) for s in seen] != [2] or not torch.equal(seen[0][1], logits):
        raise ValueError(
            f"{name}: layer {head!r} does not give the logits from one input, so it is"
            " no last layer; give head=None for a network without one"
        )
    if seen[0][0].ndim != 2:
        raise ValueError(
            f"{name}: layer {head!r} reads {list(seen[0][0].shape)}, not [3, h]"
        )


def _check_derivatives(module: nn.Module, records: Tensor) -> None:
    """Second derivatives in a direction, against a difference of first ones."""
    module = deepcopy(module).double()
    x = records.double() if records.is_floating_point() else records
    generator = torch.Generator().manual_seed(2)
    params = parameters_of(module)
    draw = [torch.randn(p.shape, generator=generator).to(p) for p in params.values()]
    # Away from the kinks of activations, and from parameters that start alike.
    params = {n: p + MOVED * d for (n, p), d in zip(params.items(), draw, strict=True)}

    def gradients(shift: float, twice: bool = False) -> list[Tensor]:
        leaves = {
            n: (p + shift * d).requires_grad_()
            for (n, p), d in zip(params.items(), draw, strict=True)
        }
        logits = functional_call(module, leaves, (x,))
        target = torch.arange(len(x)) % logits.shape[-1]
        found = torch.autograd.grad(
            F.cross_entropy(logits, target),
            [*leaves.values()],
            create_graph=twice,
            materialize_grads=True,
        )
        if not twice or not any(g.requires_grad for g in found):
            return [torch.zeros_like(g) if twice else g for g in found]
        along = sum((g * d).sum() for g, d in zip(found, draw, strict=True))
        assert isinstance(along, Tensor)
        return [*torch.autograd.grad(along, [*leaves.values()], materialize_grads=True)]

    # Rows of padding have a gradient of zero by convention, not by the function.
    first = gradients(0.0)
    draw = [d * (g != 0) for d, g in zip(draw, first, strict=True)]
    exact = gradients(0.0, twice=True)
    ahead, behind = gradients(STEP), gradients(-STEP)
    wanted = [(a - b) / (2 * STEP) for a, b in zip(ahead, behind, strict=True)]
    scale = max(float(w.abs().max()) for w in wanted)
    for name, one, other in zip(params, exact, wanted, strict=True):
        if float((one - other).abs().max()) > TOLERANCE * scale + 1e-6:
            raise ValueError(
                f"PyTorch's second derivative by {name} of {type(module).__name__} is"
                " wrong, so MAML's gradient would be: write that layer otherwise"
                " (weight_norm, for example, as g * v / v.norm())"
            )
