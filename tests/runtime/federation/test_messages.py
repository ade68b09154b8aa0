"""What leaves a node, and what runs there."""

import json
import os
import subprocess
import sys
import threading
from multiprocessing import Pipe

import numpy as np
import pytest

from fedmeta.data.errors import DataError
from fedmeta.runtime.federation import lasting
from fedmeta.runtime.federation.messages import Message, Refused, receive, send
from fedmeta.runtime.federation.node import Node
from fedmeta.runtime.federation.pack import NAMES, pack
from fedmeta.runtime.federation.rounds import _question
from fedmeta.runtime.federation.tables import tables_of

SCORES = {"num_support", "num_query"} | {
    f"{name}_sum_{when}"
    for name in ("loss", "accuracy")
    for when in ("before", "after")
}


@pytest.fixture
def node(folders):
    return Node(folders[0])


@pytest.fixture
def question(job, codebook, here):
    """Makes a message about the node's clients."""

    def make(kind, clients, **work):
        asked = _question(kind, job, codebook, here[3], work)
        return asked._replace(
            values={**asked.values, "work": {**work, "clients": clients}}
        )

    return make


@pytest.fixture
def clients(node, job):
    asked = Message("query", {"job": job._asdict()}, {})
    return node.answer(asked).values["answer"]["client_id"]


def test_a_query_is_answered_by_names_sizes_and_the_kind_of_records(node, job):
    """docs/how-to/federation.md lists these."""
    answer = node.answer(Message("query", {"job": job._asdict()}, {}))
    told = answer.values["answer"]
    assert answer.values.keys() == {"answer"}
    assert not answer.arrays
    assert told.keys() == {
        *("client_id", "start", "stop"),
        *("checksum", "metadata", "columns"),
    }
    assert told["metadata"].keys() <= {
        *("synthetic", "name", "ordered"),
        *("roles", "numbers", "shape", "classes", "categories"),
    }
    assert told["columns"] == {"pixels": ["|u1", 784], "label": ["|u1"]}
    assert all(isinstance(number, int) for number in told["start"] + told["stop"])


def test_training_is_answered_by_updates_weights_and_summed_metrics(
    node, question, clients, here
):
    answer = node.answer(question("train", clients, round_number=1))
    told = answer.values["answer"]["clients"]
    assert answer.values.keys() == {"answer"}
    assert [row["client"] for row in told] == clients
    for row in told:
        assert row.keys() == {"client", "weight", "metrics"}
        assert all(len(pair) == 2 for pair in row["metrics"].values())
    parameters = {f"theta/{name}": leaf for name, leaf in here[3]["theta"].items()}
    assert answer.arrays.keys() == {"update.0", "update.1"}
    for arrays in answer.arrays.values():
        shapes = {name: array.shape for name, array in arrays.items()}
        assert shapes == {name: tuple(leaf.shape) for name, leaf in parameters.items()}


@pytest.mark.parametrize("rows", [True, False])
def test_an_evaluation_is_answered_by_sums(folders, question, clients, rows):
    node = Node(folders[0], rows)
    answer = node.answer(question("evaluate", clients, name="maml"))
    assert not answer.arrays
    assert answer.values.keys() == {"answer"}
    assert answer.values["answer"].keys() == {"summed", "rows"}
    told = answer.values["answer"]["rows"]
    assert len(told) == (2 if rows else 1)
    for row in told:
        assert row.keys() == SCORES | ({"client_id"} if rows else set())


def test_a_selection_that_keeps_nobody_is_refused_in_words(folders, job):
    none = job._replace(selection={**job.selection, "min_records": 10_000})
    with pytest.raises(DataError) as refused:
        tables_of(folders[0], none)
    assert "10000" in str(refused.value)
    assert "DataError" not in str(refused.value)  # it is another process's


def test_numbers_in_place_of_names(folders, tmp_path, job):
    raw = folders[0].parent / "raw0"
    pack("femnist", raw, tmp_path, numbers=True)
    names = json.loads((tmp_path / NAMES).read_text())
    answer = Node(tmp_path).answer(Message("query", {"job": job._asdict()}, {}))
    told = json.dumps([answer.values])
    assert set(answer.values["answer"]["client_id"]) == set(names)
    assert not any(name in told for name in names.values())


def test_a_message_goes_between_processes_as_it_is():
    here, there = Pipe()
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    message = Message("train", {"work": {"a": [1, 2.5]}}, {"meta": {"w": array}})
    threading.Thread(target=send, args=(here, message)).start()
    found = receive(there)
    assert found.values == message.values
    np.testing.assert_array_equal(found.arrays["meta"]["w"], array)


@pytest.fixture
def served(tmp_path):
    """A folder whose lasting process, here a thread, refuses trainings."""

    def answer(question):
        if question.kind == "train":
            raise ValueError("no client 'x' here")
        return Message(question.kind, {"answer": {"fine": True}}, {})

    served = threading.Thread(
        target=lasting.serve, args=(tmp_path, answer), daemon=True
    )
    served.start()
    while not (tmp_path / lasting.ADDRESS).exists():
        served.join(0.01)
    return tmp_path


def test_the_lasting_process_answers_and_refuses(served):
    answer = lasting.ask(served, Message("query", {}, {}))
    assert answer.values["answer"] == {"fine": True}
    with pytest.raises(Refused, match="no client 'x' here"):
        lasting.ask(served, Message("train", {}, {}))
    assert lasting.ask(served, Message("query", {}, {})).values["answer"]["fine"]


def test_the_lasting_process_answers_nobody_without_its_key(served):
    address = served / lasting.ADDRESS
    assert address.stat().st_mode & 0o077 == 0
    port, _ = json.loads(address.read_text())
    address.write_text(json.dumps([port, "00" * 32]))
    with pytest.raises(Exception, match="digest"):
        lasting.ask(served, Message("query", {}, {}))


def test_the_lasting_process_keeps_few_kernels(tmp_path, monkeypatch):
    """By default it grows with the sizes of the clients that it has seen."""
    sizes = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    for name in sizes:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["lasting", str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    served = []
    monkeypatch.setattr(lasting, "serve", lambda folder, _: served.append(folder))
    lasting.main()
    assert served == [tmp_path]
    assert [os.environ.pop(name) for name in sizes] == ["64", "8"]


def test_without_a_lasting_process_the_remedy_is_told(tmp_path):
    with pytest.raises(ConnectionError, match=r"start one: python -m fedmeta"):
        lasting.ask(tmp_path, Message("query", {}, {}))


MESSAGES = """
import json, sys
from pathlib import Path
import numpy as np
from fedmeta.runtime.federation.lasting import HIDDEN, _Without
sys.meta_path.insert(0, _Without())
from fedmeta.runtime.federation.messages import Message
from fedmeta.runtime.federation.node import Node
arrays = dict(np.load(sys.argv[2]))
groups = {g: {n[len(g) + 1:]: a for n, a in arrays.items() if n.startswith(g)}
          for g in ("meta", "codebook")}
node = Node(Path(sys.argv[1]))
for kind, values in json.load(sys.stdin):
    node.answer(Message(kind, values, groups))
print([name for name in HIDDEN if name in sys.modules])
"""


def test_messages_are_answered_without_kedro_mlflow_and_pandas(
    folders, question, clients, job, tmp_path
):
    """The tables of the job are there already: they are another process's work."""
    messages = [
        Message("query", {"job": job._asdict()}, {}),
        question("train", clients, round_number=1),
        question("evaluate", clients, name="maml"),
    ]
    arrays = {
        f"{group}/{name}": array
        for group, held in messages[1].arrays.items()
        for name, array in held.items()
    }
    np.savez(tmp_path / "arrays.npz", **arrays)
    done = subprocess.run(
        [sys.executable, "-c", MESSAGES, folders[0], tmp_path / "arrays.npz"],
        input=json.dumps([(m.kind, m.values) for m in messages]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr
