"""Clients of a round computed by the workers of dask.distributed.

A worker is given the function and the data once, the meta-parameters once a round, and
then names of clients. Results come back in the order of the cohort, so that they are
those of `fedmeta.core.backends.sequential` to the bit on machines of one kind.
"""

from __future__ import annotations

import atexit
import logging
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fedmeta.core.backends import ClientFunction
from fedmeta.core.types import Backend, ClientId, ForEachClient, MakeTask, MetaParams
from fedmeta.runtime.on_worker import (
    Missing,
    WorkerJob,
    keep,
    pickled,
    send_file,
    version,
    work,
)

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

ANSWER_S = 10.0  # for a scheduler to answer
RESTART_S = 60.0  # for a worker of this machine to be started again
LOSSES = 3  # of workers that were given what a client needed


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
        job = WorkerJob(uuid.uuid4().hex, pickled((function, make_task)), version())

        def for_each(
            meta: MetaParams, cohort: Sequence[ClientId], round_number: int
        ) -> Iterator[tuple[ClientId, Any]]:
            client = connected(scheduler, workers)
            yield from _Round(client, job, meta, round_number).over(cohort)

        return for_each

    return backend


class _Round:
    """A round's clients on their way to workers and back.

    Workers are given what clients share by messages of ours, and ask for what they
    lack. As data of dask's (`Client.scatter` to all), a worker that is lost meanwhile
    leaves the scheduler copying to it for ever (`Scheduler.replicate` of 2026.8).
    """

    def __init__(
        self, client: Client, job: WorkerJob, meta: MetaParams, number: int
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
            own = self.client.cluster is not None
            try:
                self.client.wait_for_workers(1, timeout=RESTART_S if own else None)
            except TimeoutError:
                raise self._deserted() from None
        # Whom this does not reach asks for it.
        meta = self.things[self.meta]
        self.client.run(keep, self.job, self.meta, meta, on_error="ignore")
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
        what = (self.job, self.meta, client_id, self.number)
        key = f"round {self.number} client {client_id} {uuid.uuid4()}"
        return self.client.submit(work, *what, key=key, pure=False)

    def _first(self) -> tuple[ClientId, Any]:
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415

        while True:
            client_id, future = self.waiting[0]
            try:
                result = self._result_of(future)
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

    def _result_of(self, future: Future) -> Any:
        patience = ANSWER_S
        alone = 0.0  # seconds without a worker
        while True:
            try:
                return future.result(timeout=patience)
            except TimeoutError:
                if future.status == "error":  # the client's own
                    raise
            if self.client.nthreads():
                alone = 0.0
                # What is computed is on its way, unless its worker is lost meanwhile.
                patience = 2 * patience if future.done() else ANSWER_S
                continue
            if not alone:
                log.warning("all dask workers are lost: waiting for others")
            alone += patience
            patience = ANSWER_S
            # A worker that ends as it begins is not always started again by dask.
            if self.client.cluster is not None and alone > RESTART_S:
                raise self._deserted()

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
            send_file(self.client, address, path, name)
            return
        with suppress(OSError):
            things = self.job, name, self.things[name]
            self.client.run(keep, *things, workers=[address])

    def _deserted(self) -> ValueError:
        return ValueError(
            f"round {self.number}: all dask workers of this machine are lost, and none"
            f" has been started again in {RESTART_S:g} s; the same command goes on from"
            " the last checkpoint"
        )

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
        _connections[scheduler] = connect(scheduler, workers, "backend dask")
    return _connections[scheduler]


def disconnect() -> None:
    """Close the connections of this process, and end the workers that it has begun."""
    while _connections:
        _, client = _connections.popitem()
        client.close()  # first: workers wait for it
        if client.cluster is not None:
            with suppress(TimeoutError):  # they end with this process
                client.cluster.close(timeout=ANSWER_S)


def connect(scheduler: str | None, workers: int, asked_by: str) -> Client:
    """A new connection to a scheduler; see `over_workers`.

    Raises:
        ValueError: that names what asked for it, where dask is missing or no scheduler
            answers.
    """
    try:
        import dask  # noqa: PLC0415
        from distributed import Client, LocalCluster  # noqa: PLC0415
    except ImportError:
        raise ValueError(
            f"{asked_by} needs dask.distributed: pip install distributed"
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
