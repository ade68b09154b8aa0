"""What of this machine a training uses: cores or a GPU, and by which backend."""

import os

import torch

from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.types import Backend
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.runtime.workers import over_workers


def choose_device(wanted: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    There, float32 is float32: torch's convolutions round to TF32 otherwise.

    Raises:
        ValueError: if a GPU is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ValueError(
            "device is 'cuda', but torch sees no GPU: use 'auto' or 'cpu', or install"
            " a torch build for your GPU (see docs/how-to/gpu.md)"
        )
    if wanted == "auto":
        wanted = "cuda" if available else "cpu"
    if wanted == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(wanted)


def cores() -> int:
    """Cores that this process may use: its budget, where it has been given one."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def choose_backend(training: TrainingOptions, device: torch.device) -> Backend:
    """The backend of that name; "auto" suits the device.

    On a CPU clients run side by side, each on one core: torch's own threads would make
    every small operation wait for the slowest core, and the result would depend on
    how many there are.

    Raises:
        ValueError: where dask's workers, which compute on CPUs, are to use a GPU.
    """
    name = training.backend
    if name == "auto":
        name = "threaded" if device.type == "cpu" else "vectorized"
    if name == "dask" and device.type != "cpu":
        raise ValueError("backend dask computes on CPUs: give device=cpu with it")
    if name == "threaded":
        torch.set_num_threads(1)
    most = training.clients_per_round
    if device.type == "cpu":
        most = min(cores(), most)
    at_once = training.clients_at_once or most
    return {
        "sequential": sequential,
        "threaded": threaded(at_once),
        "vectorized": vectorized(at_once),
        "dask": over_workers(training.scheduler, at_once),
    }[name]
