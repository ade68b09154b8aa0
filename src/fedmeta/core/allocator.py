"""Memory of a process that trains on a CPU: kept for the next temporary, and compact.

By default glibc returns every large block to the system, so that each temporary tensor
is a fresh mapping whose pages fault in one by one: a sixth to a third of the time of
local training on a CPU. It also gives each thread a heap that holds few large blocks.

A heap that is kept must not be fragmented. oneDNN compiles a kernel for each operation
and number of records, and caches 1,024 of them, about 170 kB each; torch keeps as many
for each thread. Clients differ in size, so that new kernels settle among the
temporaries all the time, stay for long, and split the free memory into holes that fit
less and less.
"""

import ctypes
import os
import sys

# <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8

# Kernels that oneDNN keeps for each worker. A client of the paper's networks needs 11
# to 38 of them, in a recurrent network many times over; the next one needs others.
KERNELS = 64
# Those that torch keeps for each thread, and finds in oneDNN's cache as quickly.
OF_A_THREAD = 8


def one_heap() -> None:
    """Give all threads one heap, on Linux with glibc.

    For the threads that start later: existing heaps stay in use.
    """
    _mallopt({M_ARENA_MAX: 1})


def keep_few_kernels(workers: int) -> None:
    """Bound what a process that trains ``workers`` clients at a time caches.

    Call it before the first operation on tensors: caches read their sizes from the
    environment when they are first used. Sizes that the environment has are kept.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS * workers))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(OF_A_THREAD))


def keep_freed_memory(workers: int) -> None:
    """Let a process that trains ``workers`` clients at a time keep what it frees.

    It has `keep_few_kernels`, and keeps its peak of memory until it ends.
    """
    keep_few_kernels(workers)
    _mallopt({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1})


def _mallopt(options: dict[int, int]) -> None:
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
