"""A federation of real processes on 127.0.0.1: the bits of one process, and losses.

Flower is in an environment of its own, that `make federation` makes.
"""

import json
import os
import time
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


def checkpoint(project, store):
    (link,) = project.glob(f"data/06_models/{store}/**/maml.safetensors")
    return read_checkpoint(link)


def run(federation, store, rounds=4, **config):
    params = f"store={store},femnist.training.rounds={rounds}"
    wanted = {"pipeline": "femnist_maml_federation", "env": "smoke", "params": params}
    return federation.run({**wanted, **config})


def log_of(federation):
    log = federation.log_of("run")
    return log.read_text() if log.exists() else ""


def wait_for(federation, text, times=1):
    end = time.monotonic() + WAIT_S
    while log_of(federation).count(text) < times:
        assert time.monotonic() < end, f"no {text!r} in {log_of(federation)[-3000:]}"
        time.sleep(0.2)


def test_a_federation_gives_the_bits_of_one_process(federation, project):
    assert run(federation, "nodes", nodes=3)
    bootstrap_project(project)
    given = {
        "store": "here",
        "femnist": {"training": {"rounds": 4, "backend": "sequential"}},
    }
    with KedroSession.create(project, env="smoke", runtime_params=given) as session:
        session.run(pipeline_names=["femnist_maml"])
    found, wanted = checkpoint(project, "nodes"), checkpoint(project, "here")
    assert found.settings == wanted.settings
    pairs = zip(tree_leaves(found.state), tree_leaves(wanted.state), strict=True)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)
    for kind in ("history", "validation"):
        for name, table in getattr(wanted, kind).items():
            assert getattr(found, kind)[name].equals(table)
