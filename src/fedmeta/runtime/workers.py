"""Clients of a round computed by the workers of dask.distributed.

A worker is given the function and the data once, the meta-parameters once a round, and
then names of clients. Results come back in the order of the cohort, so that they are
those of `fedmeta.core.backends.sequential` to the bit on machines of one kind.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import logging
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import torch

from fedmeta.core.backends import ClientFunction
from fedmeta.core.types import Backend, ClientId, ForEachClient, MakeTask, MetaParams
from fedmeta.data.federated import FederatedDataset, read_packed

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

ANSWER_S = 10.0  # for a scheduler to answer
LOSSES = 3  # of workers that were given what a client needed
PART_BYTES = 16 << 20  # of a packed file that is sent
KEPT = 4  # jobs that a worker keeps ready
PACKAGE = Path(__file__).parents[1]


def over_workers(scheduler: str | None, workers: int) -> Backend:
    """Clients mapped over dask workers; those of a lost worker are done by others.

    Args:
        scheduler: address of a running dask scheduler, such as
            ``tcp://127.0.0.1:8786``; None: a cluster on this machine, that ends with
            this process.
        workers: processes of that cluster.

    Raises:
        ValueError: where dask is missing or no scheduler answers; while clients are
            gone over, where a worker runs other code, or ends again and again over a
            client.
    """

    def backend(function: ClientFunction, make_task: MakeTask) -> ForEachClient:
        job = _Job(uuid.uuid4().hex, _pickled((function, make_task)), version())

        def for_each(
            meta: MetaParams, cohort: Sequence[ClientId], round_number: int
        ) -> Iterator[tuple[ClientId, Any]]:
            client = connected(scheduler, workers)
            yield from _Round(client, job, meta, round_number).over(cohort)

        return for_each

    return backend


class _Job(NamedTuple):
    """What a worker needs for all rounds."""

    name: str
    content: bytes  # a function and its maker of tasks
    version: str


class Missing(Exception):
    """What a worker lacks: its address, a name, and the path of a packed file or None.

    A packed file's name is its checksum.
    """


class _Round:
    """A round's clients on their way to workers and back.

    Workers are given what clients share by messages of ours, and ask for what they
    lack. As data of dask's (`Client.scatter` to all), a worker that is lost meanwhile
    leaves the scheduler copying to it for ever (`Scheduler.replicate` of 2026.8).
    """

    def __init__(
        self, client: Client, job: _Job, meta: MetaParams, number: int
    ) -> None:
        self.client, self.number = client, number
        self.job, self.meta = job.name, uuid.uuid4().hex
        self.things = {job.name: job, self.meta: meta}
        self.waiting: deque[tuple[ClientId, Future]] = deque()
        self.asked: dict[ClientId, set[str]] = {}  # addresses of workers

    def over(self, cohort: Sequence[ClientId]) -> Iterator[tuple[ClientId, Any]]:
        """Yield each client with its result; only a few results are held at a time."""
        if not self.client.nthreads():
            log.warning("the dask scheduler has no workers yet: waiting for the first")
            self.client.wait_for_workers(1)
        # Whom this does not reach asks for it.
        meta = self.things[self.meta]
        self.client.run(_keep, self.job, self.meta, meta, on_error="ignore")
        at_once = 2 * sum(self.client.nthreads().values())
        try:
            for client_id in cohort:
                self.waiting.append((client_id, self._submitted(client_id)))
                if len(self.waiting) > at_once:
                    yield self._first()
            while self.waiting:
                yield self._first()
        finally:
            if self.waiting:
                self.client.cancel([future for _, future in self.waiting])

    def _submitted(self, client_id: ClientId) -> Future:
        work = (self.job, self.meta, client_id, self.number)
        key = f"round {self.number} client {client_id} {uuid.uuid4()}"
        return self.client.submit(_work, *work, key=key, pure=False)

    def _first(self) -> tuple[ClientId, Any]:
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415

        while True:
            client_id, future = self.waiting[0]
            try:
                self._wait_for(future)
                result = future.result()
            except KilledWorker as error:
                raise self._given_up(client_id, error.allowed_failures + 1) from None
            except CancelledError:
                raise ValueError(
                    f"round {self.number}: the dask scheduler was lost; start it again:"
                    " the same command goes on from the last checkpoint"
                ) from None
            if not isinstance(result, Missing):
                self.waiting.popleft()
                return client_id, result
            self._give(client_id, *result.args)
            self.waiting[0] = client_id, self._submitted(client_id)

    def _wait_for(self, future: Future) -> None:
        from distributed import wait  # noqa: PLC0415

        told = False
        while not future.done():
            with suppress(TimeoutError):
                wait([future], timeout=ANSWER_S)
            if not (told or future.done() or self.client.nthreads()):
                log.warning("all dask workers are lost: waiting for others")
                told = True

    def _give(
        self, client_id: ClientId, address: str, name: str, path: str | None
    ) -> None:
        """Give a worker what it lacks for a client, if it is still there."""
        # A worker that was started again asks anew, which dask takes for a success.
        asked = self.asked.setdefault(client_id, set())
        lost = len(asked - set(self.client.nthreads()))
        if lost >= LOSSES:
            raise self._given_up(client_id, lost)
        asked.add(address)
        if path is not None:
            _send_file(self.client, address, path, name)
            return
        with suppress(OSError):
            things = self.job, name, self.things[name]
            self.client.run(_keep, *things, workers=[address])

    def _given_up(self, client_id: ClientId, times: int) -> ValueError:
        return ValueError(
            f"round {self.number}: dask workers ended {times} times over client"
            f" {client_id}, for lack of memory perhaps; a smaller chunk of the block"
            " training takes less"
        )


_connections: dict[str | None, Client] = {}


def connected(scheduler: str | None, workers: int) -> Client:
    """The connection of this process to a scheduler; see `over_workers`."""
    if scheduler not in _connections:
        if not _connections:
            atexit.register(disconnect)
        _connections[scheduler] = _connect(scheduler, workers)
    return _connections[scheduler]


def disconnect() -> None:
    """Close the connections of this process, and end the workers that it has begun."""
    while _connections:
        _, client = _connections.popitem()
        client.close()  # first: workers wait for it
        if client.cluster is not None:
            client.cluster.close()


def _connect(scheduler: str | None, workers: int) -> Client:
    try:
        import dask  # noqa: PLC0415
        from distributed import Client, LocalCluster  # noqa: PLC0415
    except ImportError:
        raise ValueError(
            "backend dask needs dask.distributed: pip install distributed"
        ) from None
    # Its info is of connections and heartbeats; of lost workers it warns.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if scheduler is None:
        # It puts these into the environment of this process too: by default a number
        # of threads, which others would take for theirs.
        quiet = {"DASK_LOGGING__DISTRIBUTED": "warning"}
        with dask.config.set({"distributed.nanny.pre-spawn-environ": quiet}):
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                memory_limit=0,
            )
        return Client(cluster)
    try:
        return Client(scheduler, timeout=ANSWER_S)
    except OSError as error:
        raise ValueError(
            f"no dask scheduler answers at {scheduler} ({error}); start one: dask"
            " scheduler"
        ) from None


@cache
def version() -> str:
    """Hash of this package's source and torch's version: equal ones compute alike."""
    digest = hashlib.sha256(torch.__version__.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# On a worker


_metas: OrderedDict[str, tuple[str, MetaParams]] = OrderedDict()  # the last of a job
_jobs: OrderedDict[str, _Job] = OrderedDict()
_ready: OrderedDict[str, tuple[ClientFunction, MakeTask]] = OrderedDict()
_one_at_a_time = threading.Lock()  # of the worker's threads


def _keep(job: str, name: str, thing: _Job | MetaParams) -> None:
    """Keep what all clients of a job, or of its present round, share."""
    if isinstance(thing, _Job):
        _put(_jobs, job, thing)
    else:
        _put(_metas, job, (name, thing))


def _put(kept: OrderedDict[str, Any], job: str, thing: Any) -> None:
    kept[job] = thing
    kept.move_to_end(job)
    if len(kept) > KEPT:
        kept.popitem(last=False)


def _work(job: str, meta: str, client_id: ClientId, round_number: int) -> Any:
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
            logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
            _put(_ready, name, cloudpickle.loads(job.content))
            del _jobs[name]
        return _ready[name]


def _missing(name: str, path: str | None = None) -> Missing:
    return Missing(_address(), name, path)


def _address() -> str:
    from distributed import get_worker  # noqa: PLC0415

    return get_worker().address


# Packed data: mapped by every worker, from a path that machines share, or from a copy


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, FederatedDataset):
            return _mapped, (str(thing.path.absolute()), thing.checksum)
        return super().reducer_override(thing)


def _pickled(thing: Any) -> bytes:
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


def _send_file(client: Client, address: str, path: str, checksum: str) -> None:
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
