"""Compression of what clients send: a pair of functions, before and after the wire.

Both ways are deterministic and keep nothing from round to round: no error feedback, for
which clients would need a memory. What is sent is a tree of tensors, whose bytes depend
on the shapes of the update alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedmeta.core.bounds import Portion
from fedmeta.core.trees import tree_map
from fedmeta.core.types import (
    Backend,
    ClientId,
    ClientOutput,
    ForEachClient,
    MakeTask,
    MetaParams,
    Task,
)

Sent = dict[str, Tensor]  # what stands for one tensor
Update = Callable[[MetaParams, Task], ClientOutput]


class Compression(NamedTuple):
    """How one tensor is sent."""

    compress: Callable[[Tensor], Sent]
    decompress: Callable[[Sent, Tensor], Tensor]  # with a tensor of the same shape

    def sending(self, function: Update) -> Update:
        """The client update ``function``, whose update is packed where it is made."""

        def send(meta: MetaParams, task: Task) -> ClientOutput:
            output = function(meta, task)
            return output._replace(update=self.pack(output.update))

        return send

    def pack(self, update: MetaParams) -> Any:
        """The tree that is sent in place of an update."""
        return tree_map(self.compress, update)

    def unpack(self, sent: Any, like: MetaParams) -> MetaParams:
        """The update that ``sent`` stands for, in shapes and types of ``like``."""
        return {
            group: {n: self.decompress(sent[group][n], leaf) for n, leaf in own.items()}
            for group, own in like.items()
        }


def int8() -> Compression:
    """Whole numbers from -127 to 127, times a scale a tensor: a quarter of float32.

    They are rounded to the nearest: each is off by at most half a scale, which is the
    tensor's greatest magnitude over 127. Rounding at random would have no bias, but
    needs randomness on the client, which ends with its task (`core.types`).
    """

    def compress(leaf: Tensor) -> Sent:
        scale = leaf.abs().amax() / 127
        steps = (leaf / torch.where(scale > 0, scale, 1)).round()
        return {"values": steps.to(torch.int8), "scale": scale}

    def decompress(sent: Sent, like: Tensor) -> Tensor:
        return sent["values"].to(like) * sent["scale"]

    return Compression(compress, decompress)


def top_k(fraction: Portion) -> Compression:
    """The entries of greatest magnitude of each tensor, with their places.

    Args:
        fraction: of a tensor's entries, rounded up. All others count as 0, and what
            they held is lost (Aji and Heafield 2017, arXiv 1704.05021, without their
            memory).
    """

    def compress(leaf: Tensor) -> Sent:
        flat = leaf.flatten()
        kept = max(1, math.ceil(fraction * len(flat) - 1e-9))  # 7 % of 100: not 8
        places = flat.abs().topk(kept).indices
        return {"values": flat.gather(0, places), "places": places.to(torch.int32)}

    def decompress(sent: Sent, like: Tensor) -> Tensor:
        flat = torch.zeros_like(like).flatten()
        return flat.scatter(0, sent["places"].long(), sent["values"]).view_as(like)

    return Compression(compress, decompress)


COMPRESSIONS: dict[str, Callable[..., Compression]] = {"int8": int8, "top_k": top_k}


def compressed(backend: Backend, compression: Compression) -> Backend:
    """The backend, whose clients send compressed updates.

    How clients are mapped, and over which wire, is the backend's.
    """

    def wrapped(function: Update, make_task: MakeTask) -> ForEachClient:
        inner = backend(compression.sending(function), make_task)

        def for_each(
            meta: MetaParams, cohort: Sequence[ClientId], round_number: int
        ) -> Iterator[tuple[ClientId, ClientOutput]]:
            for client, sent in inner(meta, cohort, round_number):
                update = compression.unpack(sent.update, meta)
                yield client, sent._replace(update=update)

        return for_each

    return wrapped
