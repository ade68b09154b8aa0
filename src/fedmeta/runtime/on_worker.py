"""What runs on a worker of dask, and what it is given for that.

A worker keeps the function and the data of a job, and the meta-parameters of its round;
packed files it maps from a path that machines share, or from a copy of its own.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import torch

from fedmeta.core.allocator import keep_few_kernels
from fedmeta.core.backends import ClientFunction
from fedmeta.core.types import ClientId, MakeTask, MetaParams
from fedmeta.data.federated import FederatedDataset, read_packed

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

KEPT = 4  # jobs that a worker keeps ready
PART_BYTES = 16 << 20  # of a packed file that is sent
PACKAGE = Path(__file__).parents[1]


class WorkerJob(NamedTuple):
    """What a worker needs for all rounds."""

    name: str
    content: bytes  # a function and its maker of tasks
    version: str


class Missing(Exception):
    """What a worker lacks: its address, a name, and the path of a packed file or None.

    A packed file's name is its checksum.
    """


@cache
def version() -> str:
    """Hash of this package's source and torch's version: equal ones compute alike."""
    digest = hashlib.sha256(torch.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_metas: OrderedDict[str, tuple[str, MetaParams]] = OrderedDict()  # the last of a job
_jobs: OrderedDict[str, WorkerJob] = OrderedDict()
_ready: OrderedDict[str, tuple[ClientFunction, MakeTask]] = OrderedDict()
_one_at_a_time = threading.Lock()  # of the worker's threads


def keep(job: str, name: str, thing: WorkerJob | MetaParams) -> None:
    """Keep what all clients of a job, or of its present round, share."""
    if isinstance(thing, WorkerJob):
        _put(_jobs, job, thing)
    else:
        _put(_metas, job, (name, thing))


def _put(kept: OrderedDict[str, Any], job: str, thing: Any) -> None:
    kept[job] = thing
    kept.move_to_end(job)
    if len(kept) > KEPT:
        kept.popitem(last=False)


def work(job: str, meta: str, client_id: ClientId, round_number: int) -> Any:
    try:
        function, make_task = _loaded(job)
        held = _metas.get(job)
        if held is None or held[0] != meta:
            raise _missing(meta)
    except Missing as missing:
        return missing  # dask would log it as an error if it were raised
    return function(held[1], make_task(client_id, round_number))


def _loaded(name: str) -> tuple[ClientFunction, MakeTask]:
    with _one_at_a_time:
        if name not in _ready:
            if name not in _jobs:
                raise _missing(name)
            job = _jobs[name]
            if job.version != version():
                raise ValueError(
                    f"dask worker {_address()} has another version of this package or"
                    " of torch: install the same on all machines, and start the worker"
                    " again"
                )
            # Clients run side by side: torch's own threads would make them contend,
            # and the result depend on their number.
            torch.set_num_threads(1)
            keep_few_kernels(1)
            logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
            _put(_ready, name, cloudpickle.loads(job.content))
            del _jobs[name]
        return _ready[name]


def _missing(name: str, path: str | None = None) -> Missing:
    return Missing(_address(), name, path)


def _address() -> str:
    from distributed import get_worker  # noqa: PLC0415

    return get_worker().address


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, FederatedDataset):
            return _mapped, (str(thing.path.absolute()), thing.checksum)
        return super().reducer_override(thing)


def pickled(thing: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(thing)
    return file.getvalue()


def _mapped(path: str, checksum: str) -> FederatedDataset:
    """The packed file at a path, if it is the same here, or else this worker's copy.

    Raises:
        Missing: if there is neither.
    """
    from distributed import get_worker  # noqa: PLC0415

    worker = get_worker()
    for place in (Path(path), _copy(checksum, worker)):
        if place.is_file():
            found = read_packed(place)
            if found.checksum == checksum:
                return found
    raise _missing(checksum, path)


def _copy(checksum: str, worker: Any) -> Path:
    """Where a worker keeps a packed file; it is removed with the worker's folder."""
    return Path(worker.local_directory, f"{checksum}.arrow")


def send_file(client: Client, address: str, path: str, checksum: str) -> None:
    """Give a worker a copy of a packed file, if it has none and is still there.

    Raises:
        ValueError: if it cannot keep it.
    """
    if any(client.run(_has, checksum, workers=[address]).values()):
        return
    size = Path(path).stat().st_size
    log.info("sending %s (%.0f MB) to %s", Path(path).name, size / 1e6, address)
    try:
        with open(path, "rb") as file:
            for start in range(0, size, PART_BYTES):
                part = file.read(PART_BYTES)
                client.run(_write, checksum, start, part, size, workers=[address])
    except OSError as error:
        if address in client.nthreads():
            raise ValueError(f"dask worker {address}: {error}") from None


# dask gives the worker to functions that have an argument of that name.
def _has(checksum: str, dask_worker: Any = None) -> bool:
    return _copy(checksum, dask_worker).is_file()


def _write(
    checksum: str, start: int, part: bytes, size: int, dask_worker: Any = None
) -> None:
    copy = _copy(checksum, dask_worker)
    partial = copy.with_suffix(".partial")
    with partial.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.write(part)
    if start + len(part) == size:
        partial.rename(copy)
