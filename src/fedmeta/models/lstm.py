"""LEAF's recurrent networks for Shakespeare and Sent140.

Two LSTM layers of which the last hidden state is classified (Caldas et al. 2018,
https://arxiv.org/abs/1812.01097; McMahan et al. 2017 for the characters). One bias a
gate, where `torch.nn.LSTM` adds up two.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from fedmeta.core.bounds import Count, Number
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Params
from fedmeta.models.cnn import initialize_by
from fedmeta.models.layers import initial, linear
from fedmeta.models.lstm_layer import last_hidden
from fedmeta.models.lstm_values import Weights

CHARACTERS, TOKENS = 80, 25  # LEAF's windows and tweets; decide the FLOPs alone

ReadOut = Callable[[Params, Tensor], Tensor]


def character_lstm(
    symbols: Count,
    embedding: Count = 8,
    hidden: Count = 256,
    layers: Count = 2,
    initialization: str = "pytorch",
    length: Count = CHARACTERS,
    top: Count | None = None,
) -> Model:
    """Next-character network: 810,717 parameters for 53 symbols by default.

    Args:
        symbols: of the vocabulary, read and predicted.
        embedding: numbers a symbol is given.
        hidden: units of a layer.
        layers: LSTM layers.
        initialization: "pytorch" (as ``torch.nn`` draws by default) or "tf_glorot"
            (Glorot-uniform weights, zero biases but 1 for forget gates, embedding
            uniform, as LEAF's TensorFlow).
        length: characters of a window, for the FLOPs.
        top: as of `fedmeta.core.model.classifier`.

    Returns:
        Model whose ``apply`` takes symbol ids [b, t] to logits [b, symbols].

    Raises:
        ValueError: on an initialisation that there is not.
    """

    def read(params: Params, ids: Tensor) -> Tensor:
        return F.embedding(ids.mT.long(), params["embedding.weight"])

    # Ids are looked up, at no operation: no layer reads the data themselves.
    widths = [embedding, *[hidden] * layers]
    total = _lstm_products(widths) * length + 2 * hidden * symbols
    return _network(
        {"embedding": (symbols, embedding)},
        widths,
        {"classifier": (symbols, hidden)},
        initialization,
        read,
        ForwardFlops(total, 0),
        top,
    )


def tweet_lstm(
    words: Number,
    width: Count,
    hidden: Count = 100,
    layers: Count = 2,
    dense: Count | None = 128,
    initialization: str = "pytorch",
    length: Count = TOKENS,
) -> Model:
    """Sentiment network: 241,002 parameters on vectors of 300 without dense layer.

    Args:
        words: that have trained vectors, of ids 1 to ``words``; 0: the input is
            vectors, and constant.
        width: of the vectors.
        hidden: units of a layer.
        layers: LSTM layers.
        dense: units of a dense layer without activation before the classifier; None:
            there is none.
        initialization: as of `character_lstm`.
        length: tokens of a tweet, for the FLOPs.

    Returns:
        Model whose ``apply`` takes vectors [b, t, width], or word ids [b, t] of which 0
        is padding or an unknown word and has the zero vector, to logits [b, 2].

    Raises:
        ValueError: on an initialisation that there is not.
    """

    def read(params: Params, x: Tensor) -> Tensor:
        if not words:
            return x.movedim(-2, -3)
        return F.embedding(x.mT.long(), params["embedding.weight"], padding_idx=0)

    widths = [width, *[hidden] * layers]
    if dense is None:
        heads = {"classifier": (2, hidden)}
    else:
        heads = {"dense": (dense, hidden), "classifier": (2, dense)}

    def init(seed: int) -> Params:
        params = network.init(seed)
        if words:
            params["embedding.weight"][0] = 0  # and has no gradient: it stays so
        return params

    total = _lstm_products(widths) * length
    total += 2 * sum(math.prod(shape) for shape in heads.values())
    # Vectors that are data need no gradient; those of words do.
    first = 0 if words else 2 * width * 4 * hidden * length
    network = _network(
        {"embedding": (words + 1, width)} if words else {},
        widths,
        heads,
        initialization,
        read,
        ForwardFlops(total, first),
    )
    return network._replace(init=init)


def _network(
    embedding: dict[str, tuple[int, int]],
    widths: list[int],
    heads: dict[str, tuple[int, int]],
    initialization: str,
    read: ReadOut,
    flops: ForwardFlops,
    top: int | None = None,
) -> Model:
    """Embedding if any, LSTM layers from width to width, then linear layers."""
    initialize = initialize_by(initialization)
    names = [f"lstm{n}" for n in range(1, len(widths))]

    def init(seed: int) -> Params:
        # Drawn on the CPU: the same weights on every device.
        generator = torch.Generator().manual_seed(seed)
        params = {}
        for name, shape in embedding.items():
            weight = torch.empty(shape)
            EMBEDDINGS[initialization](weight, generator=generator)
            params[f"{name}.weight"] = weight
        for name, width, units in zip(names, widths, widths[1:], strict=False):
            weights = RECURRENT[initialization](width, units, generator)
            params |= {f"{name}.{k}": w for k, w in weights._asdict().items()}
        return params | initial(heads, initialize, generator)

    *before, last = heads

    def features_of(params: Params, data: Tensor) -> Tensor:
        layers = [
            Weights(*(params[f"{name}.{field}"] for field in Weights._fields))
            for name in names
        ]
        x = last_hidden(read(params, data), layers)  # [b, h]
        for name in before:
            x = linear(params, name, x)
        return x

    def apply(params: Params, data: Tensor) -> Tensor:
        return linear(params, last, features_of(params, data))

    return classifier(init, apply, flops, top, features_of)


def _lstm_products(widths: list[int]) -> int:
    """Floating-point operations of a step of all layers, of products alone."""
    layers = zip(widths, widths[1:], strict=False)
    return sum(2 * (width + units) * 4 * units for width, units in layers)


def _pytorch_lstm(width: int, units: int, generator: Generator) -> Weights:
    bound = 1 / math.sqrt(units)
    inputs, recurrent, one, other = (
        nn.init.uniform_(torch.empty(4 * units, *k), -bound, bound, generator=generator)
        for k in ((width,), (units,), (), ())
    )
    return Weights(inputs, recurrent, one + other)


def _tf_lstm(width: int, units: int, generator: Generator) -> Weights:
    # TensorFlow has one matrix for inputs and hidden states.
    both = torch.empty(4 * units, width + units)
    inputs, recurrent = (
        part.clone()
        for part in nn.init.xavier_uniform_(both, generator=generator).split(
            [width, units], dim=1
        )
    )
    forget = torch.arange(4 * units) // units == 1
    return Weights(inputs, recurrent, forget.to(inputs.dtype))


RECURRENT = {"pytorch": _pytorch_lstm, "tf_glorot": _tf_lstm}
EMBEDDINGS: dict[str, Callable[..., Tensor]] = {
    "pytorch": nn.init.normal_,
    "tf_glorot": nn.init.xavier_uniform_,
}
