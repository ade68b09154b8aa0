"""Tasks in processes and on a cluster: a failure, a death, and no cell twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from sweep_work import noted, said, task

from fedmeta.pipelines.progress import PART
from fedmeta.runtime import workers
from fedmeta.stops import Stop, stoppable
from fedmeta.sweep import execute
from fedmeta.sweep.cluster import cluster
from fedmeta.sweep.execute import in_process, run_cell
from fedmeta.sweep.processes import pool

HERE = Path(__file__).parent


def test_in_process_in_order(tmp_path):
    given = (task(tmp_path, n, error="no" if n == 1 else None) for n in range(3))
    parts = []

    def work(one):
        parts.append(PART.get())
        return noted(one)

    outcomes = list(in_process(given, work))
    assert parts == ["cell 0", "cell 1", "cell 2"] and not PART.get()  # for displays
    assert [(o.task.number, o.error) for o in outcomes] == [
        (0, None),
        (1, "no"),
        (2, None),
    ]


def test_processes_share_the_work_and_one_may_die(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    tasks = [task(tmp_path, n, dies=n == 1, seconds=0.3) for n in range(5)]
    with pool(2, 3, noted) as run:
        outcomes = {o.task.number: o.error for o in run(tasks)}
        again = list(run([task(tmp_path, 9)]))  # the processes are still there
    assert outcomes.pop(1).startswith("its process ended (SIGKILL)")
    assert outcomes == dict.fromkeys((0, 2, 3, 4))
    assert [o.error for o in again] == [None]
    begun = said(tmp_path, "begins")
    assert sorted(int(number) for number, _ in begun) == [0, 1, 2, 3, 4, 9]
    pids = {pid for _, pid in begun}
    assert str(os.getpid()) not in pids
    assert len(pids) <= 3  # two, and one in place of the dead
    assert {threads for _, threads in said(tmp_path, "ends")} == {"3"}
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.fixture
def heeds_interrupts():
    """Ctrl-C's signal is heeded, even where a shell started the tests to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_end_when_the_sweep_is_stopped(tmp_path, heeds_interrupts, number):
    def stop() -> None:
        while len(said(tmp_path, "begins")) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    with stoppable(), pytest.raises(Stop), pool(2, 1, noted) as run:
        thread.start()
        list(run([task(tmp_path, n, seconds=600) for n in range(2)]))
    thread.join()
    assert said(tmp_path, "ends") == []
    assert len(said(tmp_path, "tidies")) == 2
    assert not any(map(alive, pids(tmp_path)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_do_not_outlive_their_parent(tmp_path, number):
    """However it ended: by a signal that nobody can heed, or one that nobody heeds."""
    code = (
        "import sys, pathlib, sweep_work as w\n"
        "from fedmeta.sweep.processes import pool\n"
        "with pool(2, 1, w.noted) as run:\n"
        "    tasks = [w.task(pathlib.Path(sys.argv[1]), n, seconds=600)"
        " for n in range(2)]\n"
        "    list(run(tasks))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=with_work()
    ) as parent:
        while len(said(tmp_path, "begins")) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(number)
    began = time.monotonic()
    while any(map(alive, pids(tmp_path))):
        assert time.monotonic() - began < 20
        time.sleep(0.05)
    assert said(tmp_path, "ends") == []
    assert len(said(tmp_path, "tidies")) == 2


def test_a_worker_that_is_stopped_takes_no_other_with_it(tmp_path):
    """Nor is an idle one waited for."""
    tasks = [task(tmp_path, 0, stops=True, seconds=600), task(tmp_path, 1)]
    with pool(2, 1, noted) as run:
        outcomes = {o.task.number: o.error for o in run(tasks)}
        ((idle,),) = [[pid] for n, pid in said(tmp_path, "begins") if n == "1"]
        os.kill(int(idle), signal.SIGTERM)
        while alive(idle):
            time.sleep(0.01)
        again = list(run([task(tmp_path, 2)]))
    assert outcomes[0].startswith("its process ended (SIGTERM)")
    assert outcomes[1] is None
    assert [o.error for o in again] == [None]


def test_a_worker_that_ends_as_it_is_given_a_task_loses_none(tmp_path):
    with pool(1, 1, noted) as run:
        list(run([task(tmp_path, 0)]))
        (idle,) = map(int, pids(tmp_path))
        os.kill(idle, signal.SIGSTOP)  # takes the task, and does not look at it
        timer = threading.Timer(0.5, os.kill, (idle, signal.SIGKILL))
        timer.start()
        outcomes = list(run([task(tmp_path, 1), task(tmp_path, 2)]))
    assert [(o.task.number, o.error) for o in outcomes] == [(1, None), (2, None)]
    assert [number for number, _ in said(tmp_path, "begins")] == ["0", "1", "2"]


def test_workers_that_cannot_start_are_not_started_for_ever(tmp_path, monkeypatch):
    """As where memory is short: each ends before it begins its task."""
    gone = types.ModuleType("gone")
    exec("def work(task): ...", gone.__dict__)  # a function of that module
    monkeypatch.setitem(sys.modules, "gone", gone)
    with pool(1, 1, gone.work) as run:
        outcomes = list(run([task(tmp_path, 0)]))
    assert [o.error.split(";")[0] for o in outcomes] == [
        "its process ended (exit code 1)"
    ]


def pids(folder: Path) -> list[str]:
    return [pid for _, pid in said(folder, "begins")]


def alive(pid: str) -> bool:
    """Whether a process still runs; one that has ended may not be buried yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        # Files are closed when its last thread has ended.
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except FileNotFoundError:
        return False


def with_work() -> dict[str, str]:
    """The environment for a process that imports `sweep_work`."""
    path = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{HERE}:{path}"}


def test_a_cell_that_another_worker_is_at_is_waited_for(tmp_path, monkeypatch):
    """As where a cluster takes a worker for lost that is not."""
    ran = []
    monkeypatch.setattr(execute, "_run", ran.append)
    mine, locks = task(tmp_path, 1), tmp_path / "locks"
    locks.mkdir()
    with FileLock(locks / mine.record.stem):
        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(run_cell(mine)))
        thread.start()
        time.sleep(0.2)
        assert not outcomes
        mine.record.write_text(json.dumps({"seconds": 1}))
    thread.join(10)
    assert [o.error for o in outcomes] == [None]
    assert ran == []


def test_an_error_is_a_line_with_details_in_a_file(tmp_path, monkeypatch):
    def fails(task):
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr(execute, "_run", fails)
    outcome = run_cell(task(tmp_path, 1))
    details = tmp_path / "1.log"
    assert outcome.error == f"ZeroDivisionError: by nought (details: {details})"
    assert "Traceback" in details.read_text()


def test_a_cell_without_memory_is_told_the_remedy(tmp_path, monkeypatch):
    def fails(task):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(execute, "_run", fails)
    error = run_cell(task(tmp_path, 1)).error
    assert "fewer workers, take less" in error and "\n" not in error


def test_a_worker_with_other_sources_refuses(tmp_path):
    older = {"training.seed": 0, "code.core.optimizers": "older"}
    outcome = run_cell(task(tmp_path, 1)._replace(settings=older))
    assert "other sources of fedmeta" in outcome.error


@contextlib.contextmanager
def dask(what: str, *words: str) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *words]
    with subprocess.Popen(
        [*command, "--no-dashboard"],
        stderr=subprocess.DEVNULL,
        env=with_work(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def scheduler(tmp_path):
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    with dask(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    ):
        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


def worker(address: str, folder: Path, threads: int = 1):
    options = ("--nthreads", str(threads), "--local-directory", str(folder / "dask"))
    return dask("worker", address, "--no-nanny", *options)


def wait_for(count: int, address: str) -> None:
    from distributed import Client  # noqa: PLC0415

    with Client(address) as client:
        client.wait_for_workers(count, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_cluster_that_loses_a_worker_loses_no_cell(scheduler, tmp_path, number):
    # The first two last until one of their workers is gone, however slow the machine.
    tasks = [task(tmp_path, n, seconds=4 if n < 2 else 0.2) for n in range(6)]
    tasks[5] = task(tmp_path, 5, error="no")
    with worker(scheduler, tmp_path) as first, worker(scheduler, tmp_path) as second:
        wait_for(2, scheduler)
        ours = {str(first.pid), str(second.pid)}

        def stop_one() -> None:
            while set(pids(tmp_path)) != ours:
                time.sleep(0.01)
            first.send_signal(number)

        thread = threading.Thread(target=stop_one)
        thread.start()
        with cluster(scheduler, noted) as run:
            outcomes = [(o.task.number, o.error) for o in run(tasks)]
        thread.join()
        first.wait(10)
    assert sorted(outcomes, key=str) == sorted(
        [*((n, None) for n in range(5)), (5, "no")], key=str
    )
    ended = sorted(int(number) for number, _ in said(tmp_path, "ends"))
    assert ended == [0, 1, 2, 3, 4, 5]  # each once
    begun = [number for number, _ in said(tmp_path, "begins")]
    assert len(begun) == 7  # one of them twice: its first worker was stopped
    assert len(said(tmp_path, "tidies")) == (number == signal.SIGTERM)


def test_workers_of_a_cluster_stop_with_the_sweep(
    scheduler, tmp_path, heeds_interrupts
):
    """And are there for the next one."""

    def stop() -> None:
        while not said(tmp_path, "begins"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    with worker(scheduler, tmp_path):
        wait_for(1, scheduler)
        with stoppable(), pytest.raises(Stop), cluster(scheduler, noted) as run:
            thread.start()
            list(run([task(tmp_path, n, seconds=600) for n in range(2)]))
        thread.join()
        with cluster(scheduler, noted) as run:
            (outcome,) = run([task(tmp_path, 2)])
    assert outcome.error is None
    assert said(tmp_path, "tidies") == [["0"]]
    assert [number for number, _ in said(tmp_path, "begins")] == ["0", "2"]


def test_a_worker_of_several_threads_is_refused(scheduler, tmp_path):
    with worker(scheduler, tmp_path, threads=2):
        wait_for(1, scheduler)
        with pytest.raises(ValueError, match="--nthreads 1"), cluster(scheduler):
            pass


def test_no_scheduler_is_told_in_a_line(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "ANSWER_S", 0.5)
    with (
        pytest.raises(ValueError, match=r"tcp://127.0.0.1:9.*dask scheduler"),
        cluster("tcp://127.0.0.1:9"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ValueError, match="pip install distributed"),
        cluster("tcp://127.0.0.1:9"),
    ):
        pass
