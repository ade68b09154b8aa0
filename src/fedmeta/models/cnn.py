"""LEAF's convolutional network for FEMNIST, as fast as a CPU allows.

Two 5x5 convolutions, each with max-pooling and ReLU, a hidden layer and a linear
classifier (Caldas et al. 2018, https://arxiv.org/abs/1812.01097). Three rearrangements
change no value but the speed:

- channels lie last in memory, where pooling is ten times faster;
- pooling comes before bias and ReLU, which are monotone and so commute with a
  maximum: they then pass over a quarter of the data;
- matrix products of float32 on a CPU go through `fedmeta.models.product`.

Where entries of a window tie, the first one gets the gradient, as in
`torch.nn.functional.max_pool2d`.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from fedmeta.core.bounds import Count
from fedmeta.core.model import ForwardFlops, Model, classifier
from fedmeta.core.types import Params
from fedmeta.models.layers import Initialize, initial
from fedmeta.models.product import is_transformed, product

KERNEL = 5


def femnist_cnn(
    channels: tuple[Count, Count] = (32, 64),
    hidden: Count = 2048,
    classes: Count = 62,
    image_size: Count = 28,
    initialization: str = "pytorch",
    top: Count | None = None,
    colours: Count = 1,
    precision: str = "float32",
) -> Model:
    """The network of the FedMeta paper: 6,603,710 parameters by default.

    Args:
        channels: of the first and the second convolution.
        hidden: units of the hidden layer.
        classes: number of labels.
        image_size: side of the square images, a multiple of 4.
        initialization: "pytorch" (uniform, as ``torch.nn`` draws by default) or
            "tf_glorot" (Glorot-uniform weights and zero biases, as LEAF's TensorFlow).
        top: as of `fedmeta.core.model.classifier`.
        colours: values of a pixel: 1 is grey, 3 red, green and blue.
        precision: "float32", or "bfloat16" for convolutions, their activations and the
            product of the hidden layer, which processors with AVX512-BF16 or AMX and
            GPUs have instructions for; parameters and gradients stay in float32.

    Returns:
        Model whose ``apply`` takes images [b, colours * image_size²], one colour after
        another, or in any other shape of as many numbers, to logits [b, classes].

    Raises:
        ValueError: on an image size, an initialisation or a precision that there is
            not.
    """
    if image_size % 4:
        raise ValueError(f"image_size must be a multiple of 4, not {image_size}")
    initialize = initialize_by(initialization)
    if precision not in PRECISIONS:
        raise ValueError(
            f"unknown precision {precision!r}; one of {', '.join(PRECISIONS)}"
        )
    low = PRECISIONS[precision]
    first, second = channels
    features = second * (image_size // 4) ** 2
    shapes = {
        "conv1": (first, colours, KERNEL, KERNEL),
        "conv2": (second, first, KERNEL, KERNEL),
        "hidden": (hidden, features),
        "classifier": (classes, hidden),
    }

    def init(seed: int) -> Params:
        # Drawn on the CPU: the same weights on every device.
        return initial(shapes, initialize, torch.Generator().manual_seed(seed))

    def features_of(params: Params, images: Tensor) -> Tensor:
        x = low(images.reshape(-1, colours, image_size, image_size))
        x = _convolve(x, low(params["conv1.weight"]), low(params["conv1.bias"]))
        x = _convolve(x, low(params["conv2.weight"]), low(params["conv2.bias"]))
        x = x.flatten(1)  # [b, second * (image_size / 4)²]
        bias = params["hidden.bias"]
        return F.relu(product(x, low(params["hidden.weight"])).to(bias.dtype) + bias)

    def apply(params: Params, images: Tensor) -> Tensor:
        x = features_of(params, images)
        return product(x, params["classifier.weight"]) + params["classifier.bias"]

    areas = {"conv1": image_size**2, "conv2": (image_size // 2) ** 2}
    products = {
        layer: 2 * math.prod(shape) * areas.get(layer, 1)
        for layer, shape in shapes.items()
    }
    flops = ForwardFlops(sum(products.values()), products["conv1"])
    return classifier(init, apply, flops, top, features_of)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[b, i, h, w] -> [b, o, h / 2, w / 2]: convolution, pooling, bias and ReLU."""
    if is_transformed():  # whose vmap lacks max_pool2d's second derivative
        x = _maximum(F.conv2d(x, weight, padding=KERNEL // 2))
    else:
        # The layout of the weight decides that of the result. `contiguous` would do
        # nothing where there is one channel.
        weight = weight.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
        weight = weight.permute(0, 3, 1, 2)
        x = F.max_pool2d(F.conv2d(x, weight, padding=KERNEL // 2), 2)
    return F.relu(x + bias[:, None, None])


def _maximum(x: Tensor) -> Tensor:
    """[b, c, h, w] -> [b, c, h / 2, w / 2], as max_pool2d, ties included."""
    windows = x.unflatten(-2, (-1, 2)).unflatten(-1, (-1, 2)).movedim(-3, -2)
    return windows.flatten(-2).max(-1).values


def initialize_by(name: str) -> Initialize:
    """The function of that name in `INITIALIZATIONS`.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in INITIALIZATIONS:
        raise ValueError(
            f"unknown initialization {name!r}; "
            f"one of {', '.join(sorted(INITIALIZATIONS))}"
        )
    return INITIALIZATIONS[name]


def _pytorch(weight: Tensor, bias: Tensor, generator: Generator) -> None:
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(bias, -bound, bound, generator=generator)


def _tf_glorot(weight: Tensor, bias: Tensor, generator: Generator) -> None:
    nn.init.xavier_uniform_(weight, generator=generator)
    nn.init.zeros_(bias)


PRECISIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "float32": lambda x: x,
    "bfloat16": lambda x: x.to(torch.bfloat16),
}
INITIALIZATIONS = {"pytorch": _pytorch, "tf_glorot": _tf_glorot}
