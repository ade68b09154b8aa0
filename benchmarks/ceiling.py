"""The floating-point rate that this machine reaches at best.

    python benchmarks/ceiling.py [threads [float32|bfloat16]]

Convolutions and matrix products large enough that nothing but arithmetic counts.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from fedmeta.core.allocator import keep_freed_memory
from fedmeta.models.product import product


def rates(
    threads: int,
    passes: int = 5,
    clock: Callable[[], float] = time.perf_counter,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """FLOP/s of each kind of operation, the best of ``passes``."""
    torch.set_num_threads(threads)
    last = torch.channels_last
    images, kernel, point, deep = (
        torch.randn(shape).to(dtype).contiguous(memory_format=last)
        for shape in (
            (88, 64, 14, 14),
            (64, 64, 5, 5),
            (256, 256, 1, 1),
            (32, 256, 14, 14),
        )
    )
    square = torch.randn(1024, 1024).to(dtype)
    operations: dict[str, tuple[Callable[[], object], float]] = {
        "5x5 convolution": (
            lambda: F.conv2d(images, kernel, padding=2),
            2 * images.numel() * 64 * 25,
        ),
        "1x1 convolution": (lambda: F.conv2d(deep, point), 2 * deep.numel() * 256),
        "matrix product, torch": (lambda: square @ square, 2 * 1024**3),
        "matrix product, oneDNN": (lambda: product(square, square), 2 * 1024**3),
    }
    with torch.no_grad():
        return {
            name: flops / min(_seconds(operation, clock) for _ in range(passes))
            for name, (operation, flops) in operations.items()
        }


def _seconds(operation: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    operation()
    return clock() - start


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads()
    keep_freed_memory(threads)
    dtype = getattr(torch, sys.argv[2] if len(sys.argv) > 2 else "float32")
    for name, rate in rates(threads, 20, dtype=dtype).items():
        print(f"{name:24s} {rate / 1e9:7.0f} GFLOP/s with {threads} threads")
