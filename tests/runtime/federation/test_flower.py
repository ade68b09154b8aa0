"""A federation of real processes on 127.0.0.1: the bits of one process, and kills.

Flower is in an environment of its own, that `make federation` makes.
"""

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.benchmarks.femnist.synthetic import write_sample
from fedmeta.checkpoints import read_checkpoint
from fedmeta.core.trees import tree_leaves
from fedmeta.runtime.federation.local import started
from fedmeta.runtime.federation.pack import pack

ROOT = Path(__file__).parents[3]
PYTHON = Path(os.environ.get("FEDERATION_PYTHON", ROOT / ".venv-federation/bin/python"))
SAMPLE = {"writers": 20, "records_per_writer": (12, 20)}  # of conf/smoke
WAIT_S = 400.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs `make federation` before"),
]


@pytest.fixture(scope="module")
def project(new_project):
    return new_project()


@pytest.fixture(scope="module")
def federation(project, tmp_path_factory):
    """A federation with three nodes, on every third of the sample's writers."""
    folder = tmp_path_factory.mktemp("federation")
    nodes = {}
    for place in range(3):
        raw = folder / f"raw{place}"
        (path,) = write_sample(raw, **SAMPLE)
        shard = json.loads(path.read_text())
        held = {user: shard["user_data"][user] for user in shard["users"][place::3]}
        sizes = [len(data["y"]) for data in held.values()]
        shard |= {"users": [*held], "num_samples": sizes, "user_data": held}
        path.write_text(json.dumps(shard))
        nodes[f"node{place}"] = folder / f"node{place}"
        pack("femnist", raw, nodes[f"node{place}"])
    with started(folder / "local", project, nodes, PYTHON) as local:
        yield local


@pytest.fixture(autouse=True)
def own_log(federation):
    """A log of this test's runs alone."""
    federation.log_of("run").unlink(missing_ok=True)


def run(federation, store, **config):
    params = f"store={store},femnist.training.clients_per_round=8"
    wanted = {"pipeline": "femnist_maml_federation", "env": "smoke", "params": params}
    return federation.run({**wanted, "nodes": 3, **config})


@contextmanager
def running(federation, project, store, **config):
    """A run that is in its third round; after the block it has ended."""
    completed = []

    def to_its_end():
        with suppress(RuntimeError):  # there is no server to ask how it ended
            completed.append(run(federation, store, **config))

    thread = threading.Thread(target=to_its_end, daemon=True)
    thread.start()
    # Not the log, which Flower brings when the run may have ended.
    wait_until(lambda: reached(project, store) >= 2)
    yield completed
    thread.join(WAIT_S)


def log_of(federation, name="run"):
    log = federation.log_of(name)
    return log.read_text() if log.exists() else ""


def wait_until(holds):
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def reached(project, store):
    """The round of a run's first checkpoint that is after one; 0: there is none."""
    for path in project.glob(f"data/06_models/{store}/**/*.safetensors"):
        if path.is_symlink() and (found := read_checkpoint(path).state.round):
            return found
    return 0


def checkpoint(project, store, algorithm="maml"):
    (link,) = project.glob(f"data/06_models/{store}/**/{algorithm}.safetensors")
    return read_checkpoint(link)


def assert_same(found, wanted):
    assert found.settings == wanted.settings
    pairs = zip(tree_leaves(found.state), tree_leaves(wanted.state), strict=True)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)
    for kind in ("history", "validation"):
        for name, table in getattr(wanted, kind).items():
            assert getattr(found, kind)[name].equals(table)


@pytest.fixture(scope="module")
def unbroken(federation, project):
    """The checkpoint of a run that nothing has happened to."""
    assert run(federation, "nodes")
    return checkpoint(project, "nodes")


def in_one_process(project, algorithm):
    """The checkpoint of a run without nodes."""
    bootstrap_project(project)
    training = {"clients_per_round": 8, "backend": "sequential"}
    given = {"store": "here", "femnist": {"training": training}}
    with KedroSession.create(project, env="smoke", runtime_params=given) as session:
        session.run(pipeline_names=[f"femnist_{algorithm}"])
    return checkpoint(project, "here", algorithm)


def test_a_federation_gives_the_bits_of_one_process(unbroken, project):
    assert_same(unbroken, in_one_process(project, "maml"))


def test_so_does_one_whose_clients_keep_something(federation, project):
    """Control variates of SCAFFOLD stay on the nodes."""
    assert run(federation, "keeping", pipeline="femnist_scaffold_federation")
    found = checkpoint(project, "keeping", "scaffold")
    assert_same(found, in_one_process(project, "scaffold"))


def test_a_node_that_is_killed_costs_its_updates_and_is_taken_on_again(
    federation, project
):
    node, folder = "node2", federation.folder.parent / "node2"
    config = {"pipeline": "femnist_federation", "deadline": 30.0, "least": 0.1}
    with running(federation, project, "lost", **config) as completed:
        for process in (f"{node}.supernode", f"{node}.lasting"):
            federation.end(process, signal.SIGKILL)
        federation.start_lasting(node, folder)
        federation.start_supernode(node, folder)
    assert completed == [True]
    assert "is left out, with" in log_of(federation)
    assert checkpoint(project, "lost").state.round == 4
    assert [*project.glob("data/08_reporting/lost/femnist/*/report.html")]
    # Taken on again, within the minute; the runs below wait for three nodes.
    log = f"{node}.supernode"
    wait_until(lambda: log_of(federation, log).count("SuperNode ID") == 2)


@pytest.mark.parametrize("server", ["serverapp", "superlink"])
def test_a_server_that_is_killed_and_run_again_resumes(
    federation, project, unbroken, server
):
    with running(federation, project, server):
        if server == "superlink":
            federation.end("superlink", signal.SIGKILL)
            federation.start_superlink()
        else:
            federation.kill("flwr-serverapp")
        assert run(federation, server)
    assert "maml: resuming after round 2" in log_of(federation)
    assert_same(checkpoint(project, server), unbroken)


LATE = """
import time
from flwr.supercore.inflatable import inflatable_utils as flower
from fedmeta.runtime.federation.patience import ask_again_soon

def pulled(tries):
    def pull(name):
        tries.append(name)
        if len(tries) == 1:
            raise flower.ObjectUnavailableError(name)
        return b"array"
    start = time.monotonic()
    assert flower.pull_objects(["array"], pull) == {"array": b"array"}
    return time.monotonic() - start

slow = pulled([])
ask_again_soon()
print(slow > 0.5, pulled([]) < 0.5)
"""


def test_an_array_that_is_late_is_asked_for_again_soon(tmp_path):
    found = subprocess.run(
        [PYTHON, "-c", LATE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["True", "True"]


UNREADABLE = """
from types import SimpleNamespace
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from fedmeta.runtime.federation.grid import GridLink

def told(text, content):
    array = Array("uint8", (1,), "numpy.ndarray", content)
    arrays = ArrayRecord({"safetensors": array})
    records = {"values": ConfigRecord({"json": text}), "arrays": arrays}
    metadata = SimpleNamespace(reply_to_message_id="1", message_type="train")
    reply = {"metadata": metadata, "content": RecordDict(records)}
    reply = SimpleNamespace(**reply, has_error=lambda: False)
    grid = SimpleNamespace(pull_messages=lambda receipts: [reply])
    return GridLink(grid).answers(["1"])["1"]

print(told("[" * 200_000, b"1"))
print(told("{}", b""))
print(told("{}", b"PK\\3\\4"))
"""


def test_an_answer_that_cannot_be_read_is_refused_whatever_it_is(tmp_path):
    """Nested too deep, without content, and no archive."""
    found = subprocess.run(
        [PYTHON, "-c", UNREADABLE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.count("its answer cannot be read: ") == 3
