"""Clients computed by dask workers: the bits of one process, whatever happens."""

import os
import signal
import threading
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from distributed import Future, wait

from fedmeta.core.algorithms.maml import maml
from fedmeta.core.backends import sequential
from fedmeta.core.compression import Compression, compressed, int8
from fedmeta.core.gradients import masked_mean
from fedmeta.core.optimizers import adam
from fedmeta.core.trees import tree_map
from fedmeta.data.encoding import Encoding
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.ids import Ids
from fedmeta.data.partition import partition_examples
from fedmeta.data.states import ClientStates
from fedmeta.data.tasks import task_maker
from fedmeta.runtime import on_worker, workers

NAMES = [f"client {n}" for n in range(12)]


@pytest.fixture(scope="module", autouse=True)
def no_workers_are_left():
    yield
    workers.disconnect()


@pytest.fixture
def cluster():
    """Two workers on this machine, which tests share."""
    return workers.connected(None, 2)


@pytest.fixture
def lossy():
    """Two workers that may be lost: dask does not always start one again."""
    workers.disconnect()
    yield workers.connected(None, 2)
    workers.disconnect()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "packed.arrow"
    rng = np.random.default_rng(0)

    def columns(size):
        return {
            "x": rng.normal(size=(size, 3)).astype(np.float32),
            "y": rng.integers(0, 3, size),
        }

    clients = [ClientRecords(name, columns(8 + n)) for n, name in enumerate(NAMES)]
    write_packed(path, clients, {})
    return read_packed(path)


def examples(columns, rows):
    x, y = columns["x"][rows], columns["y"][rows]
    return torch.from_numpy(x).double(), torch.from_numpy(y)


def tasks(dataset):
    sizes = [len(dataset.columns(name)["y"]) for name in NAMES]
    clients = pd.DataFrame({"client_id": NAMES, "start": 0, "stop": sizes})
    divided = partition_examples(clients, 0.4, 0)
    return task_maker(dataset, clients, divided, Encoding(examples, {}), seed=0)


def loss(theta, batch):
    logits = torch.tanh(batch.x @ theta["a"]) @ theta["b"]
    losses = torch.nn.functional.cross_entropy(logits, batch.y, reduction="none")
    return masked_mean(losses, batch.mask)


def in_one_process(dataset):
    meta, update = trained()
    return list(sequential(update, tasks(dataset))(meta, NAMES, 3))


def trained():
    algorithm = maml(loss, inner_lr=0.1, server=adam(0.1))
    drawn = torch.Generator().manual_seed(0)
    theta = {n: torch.randn(3, 3, generator=drawn).double() for n in "ab"}
    return algorithm.init(theta).meta, algorithm.client_update


def assert_same(found, wanted):
    assert [client for client, _ in found] == [client for client, _ in wanted]
    for (_, ours), (_, theirs) in zip(found, wanted, strict=True):
        equal = tree_map(torch.equal, ours._asdict(), theirs._asdict())
        assert equal == tree_map(lambda _: True, theirs._asdict())


def test_threads_of_this_process_stay_what_they_were(monkeypatch):
    """Dask puts what it gives to workers into this process's environment too."""
    workers.disconnect()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    workers.connected(None, 2)
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_the_bits_are_those_of_one_process(cluster, dataset):
    meta, update = trained()
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    assert_same(list(for_each(meta, NAMES, 3)), in_one_process(dataset))
    where = cluster.run(lambda: len(on_worker._ready))
    assert list(where.values()) == [1, 1]  # both have taken part
    # without a bound they cache kernels for every size of client
    assert all(cluster.run(os.getenv, "ONEDNN_PRIMITIVE_CACHE_CAPACITY").values())
    again = for_each(meta, NAMES[:1], 3)
    assert_same(list(again), in_one_process(dataset)[:1])


def test_workers_send_compressed_updates(cluster, dataset, monkeypatch):
    came, unpack = [], Compression.unpack

    def watched(self, sent, like):
        came.append(sent["theta"]["a"]["values"].dtype)
        return unpack(self, sent, like)

    monkeypatch.setattr(Compression, "unpack", watched)
    meta, update = trained()
    there, here = (
        list(compressed(backend, int8())(update, tasks(dataset))(meta, NAMES, 3))
        for backend in (workers.over_workers(None, 2), sequential)
    )
    assert_same(there, here)
    assert came == [torch.int8] * 2 * len(NAMES)


def test_workers_read_what_clients_have_kept(cluster, dataset, tmp_path):
    meta, update = trained()
    states = ClientStates(tmp_path / "states", Ids(NAMES))
    make_task = states.given(tasks(dataset), {"seen": torch.zeros(1)})
    states.keep(NAMES[3], 2, {"seen": torch.ones(1)})
    for_each = workers.over_workers(None, 2)(counting, make_task)
    assert [seen for _, seen in for_each(meta, NAMES[:4], 3)] == [0, 0, 0, 1]


def counting(meta, task):
    return task.state["seen"].item()


def test_a_worker_without_the_file_is_sent_it_once(cluster, dataset, caplog):
    """As on a machine where another file, or none, is at that path."""

    def hide(path):
        from fedmeta.runtime import on_worker as there  # noqa: PLC0415

        real = there.read_packed
        there.hidden = real
        there.read_packed = lambda place: (
            SimpleNamespace(checksum="another") if place == path else real(place)
        )

    def show():
        from fedmeta.runtime import on_worker as there  # noqa: PLC0415

        there.read_packed = there.hidden

    cluster.run(hide, dataset.path)
    caplog.set_level("INFO")
    meta, update = trained()
    try:
        for _ in range(2):  # the second finds the copies
            for_each = workers.over_workers(None, 2)(update, tasks(dataset))
            assert_same(list(for_each(meta, NAMES, 3)), in_one_process(dataset))
    finally:
        cluster.run(show)
    sent = [r.getMessage() for r in caplog.records if "sending" in r.getMessage()]
    assert len(sent) == 2
    assert all("packed.arrow" in line for line in sent)


def slowly(update, meta, task):
    time.sleep(0.3)
    return update(meta, task)


@pytest.mark.slow
@pytest.mark.parametrize("how_many", [1, 2])
def test_lost_workers_cost_time_alone(lossy, dataset, how_many):
    meta, update = trained()
    wanted = in_one_process(dataset)
    for_each = workers.over_workers(None, 2)(partial(slowly, update), tasks(dataset))
    found = []
    pids = list(lossy.run(os.getpid).values())
    for result in for_each(meta, NAMES, 3):
        found.append(result)
        if len(found) == 2:
            for pid in pids[:how_many]:
                os.kill(pid, signal.SIGKILL)
    assert_same(found, wanted)


def test_a_round_is_never_all_in_memory(cluster, dataset):
    asked = []

    class Cohort(list):
        def __iter__(self):
            for client in super().__iter__():
                asked.append(client)
                yield client

    meta, update = trained()
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    results = for_each(meta, Cohort(NAMES), 3)
    next(results)
    assert len(asked) == 5  # two a worker, and the one that is yielded
    results.close()


def test_an_error_of_a_client_is_told(cluster, dataset):
    meta, update = trained()
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    with pytest.raises(KeyError, match="nobody"):
        list(for_each(meta, ["nobody"], 3))


def test_other_code_is_refused(cluster, dataset):
    def change(version):
        from fedmeta.runtime import on_worker as there  # noqa: PLC0415

        there.version = lambda: version

    meta, update = trained()
    cluster.run(change, "another")
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    try:
        with pytest.raises(ValueError, match="dask worker tcp://.* another version"):
            list(for_each(meta, NAMES, 3))
    finally:
        cluster.run(change, on_worker.version())


@pytest.mark.slow
def test_a_worker_lost_while_a_round_is_sent_holds_nobody_up(lossy, dataset):
    """Dask's own copying to all workers never ends when one of them is lost."""
    meta, update = trained()
    stopped = next(iter(lossy.run(os.getpid).values()))
    os.kill(stopped, signal.SIGSTOP)  # it takes nothing, and is then lost
    threading.Timer(1, os.kill, (stopped, signal.SIGKILL)).start()
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    found = []
    thread = threading.Thread(
        target=lambda: found.extend(for_each(meta, NAMES, 3)), daemon=True
    )
    thread.start()
    thread.join(90)
    assert_same(found, in_one_process(dataset))


def test_no_scheduler_is_told(dataset, monkeypatch):
    monkeypatch.setattr(workers, "ANSWER_S", 0.5)
    meta, update = trained()
    for_each = workers.over_workers("tcp://127.0.0.1:1", 2)(update, tasks(dataset))
    with pytest.raises(ValueError, match="no dask scheduler answers at tcp://127"):
        list(for_each(meta, NAMES, 3))


@pytest.mark.slow
def test_the_first_worker_is_waited_for(lossy, dataset, caplog):
    lossy.cluster.scale(0)
    while lossy.nthreads():
        time.sleep(0.05)
    threading.Timer(0.5, lambda: lossy.cluster.scale(2)).start()
    meta, update = trained()
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    assert_same(list(for_each(meta, NAMES, 3)), in_one_process(dataset))
    assert "waiting for the first" in caplog.text


@pytest.mark.slow
def test_workers_that_do_not_come_back_end_the_run(lossy, dataset, monkeypatch):
    monkeypatch.setattr(workers, "RESTART_S", 0.5)
    monkeypatch.setattr(workers, "ANSWER_S", 0.2)
    meta, update = trained()
    for_each = workers.over_workers(None, 2)(partial(slowly, update), tasks(dataset))
    results = for_each(meta, NAMES, 3)
    next(results)
    lossy.cluster.scale(0)
    lost = "all dask workers of this machine are lost, and none has been started again"
    with pytest.raises(ValueError, match=lost):
        list(results)
    with pytest.raises(ValueError, match=lost):
        list(for_each(meta, NAMES, 3))


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_results_that_are_lost_before_they_are_fetched(lossy, dataset, monkeypatch):
    """They would be computed anew, if there were a worker."""
    monkeypatch.setattr(workers, "RESTART_S", 0.5)
    monkeypatch.setattr(workers, "ANSWER_S", 0.2)
    result = Future.result

    def lost_first(self, timeout=None):
        if lossy.nthreads():
            wait([self])
            lossy.cluster.scale(0)
        while lossy.nthreads():
            time.sleep(0.05)
        return result(self, timeout)

    monkeypatch.setattr(Future, "result", lost_first)
    meta, update = trained()
    for_each = workers.over_workers(None, 2)(update, tasks(dataset))
    with pytest.raises(ValueError, match="none has been started again"):
        list(for_each(meta, NAMES, 3))


def kills(meta, task):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_client_that_ends_every_worker_ends_the_run(lossy, dataset):
    meta, _ = trained()
    for_each = workers.over_workers(None, 2)(kills, tasks(dataset))
    with pytest.raises(
        ValueError, match=r"ended \d times over client client 0|none has been"
    ):
        list(for_each(meta, NAMES[:1], 3))
