"""Nodes of a federation in folders, and a link to them within one process."""

import json
from functools import partial

import pytest

from fedmeta.assembly import assemble
from fedmeta.benchmarks.femnist.synthetic import write_sample
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.federated import read_packed
from fedmeta.data.tasks import task_maker
from fedmeta.runtime.federation import tables
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.node import Node
from fedmeta.runtime.federation.pack import pack
from fedmeta.runtime.federation.roster import Terms
from fedmeta.runtime.federation.rounds import Federation
from fedmeta.runtime.federation.tables import RECORDS, tables_of
from fedmeta.runtime.on_worker import version

FEMNIST = BENCHMARKS["femnist"]

FULL = {"profile": "full", "sampling_fraction": 1.0, "seed": 0}
SELECTION = {**FULL, "min_records": 10, "drop_duplicates": True}
OPTIONS = {"inner_lr": 0.05, "server": {"name": "adam", "lr": 0.01}}
JOB = Job(
    version(),
    "femnist",
    SELECTION,
    {"support_fraction": 0.3, "seed": 0, "strategy": "random"},
    {"channels": [2, 3], "hidden": 5},
    ["maml"],
    {"maml": OPTIONS},
    tasks={"seed": 0, "resample": False, "episode": None},
)


class Link:
    """Nodes that answer when they are asked, unless a test has changed that."""

    def __init__(self, nodes):
        self.held, self.there, self.asked = nodes, set(nodes), []
        self.lost = set()  # nodes that do not answer, though they can be reached
        self.forge = {}  # node -> function of its answers
        self.lifetimes, self._answers = [], {}

    def nodes(self):
        return sorted(self.there)

    def send(self, questions, lifetime):
        self.lifetimes.append(lifetime)
        receipts = []
        for node, question in questions:
            receipt = str(len(self.asked))
            self.asked.append((node, question))
            receipts.append(receipt)
            if node not in self.lost:
                self._answers[receipt] = self._answer(node, question)
        return receipts

    def answers(self, receipts):
        return {r: self._answers[r] for r in receipts if r in self._answers}

    def _answer(self, node, question):
        try:
            answer = self.held[node].answer(question)
        except ValueError as error:
            return str(error)
        forge = self.forge.get(node, lambda answer: answer)
        return answer if question.kind == "query" else forge(answer)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A folder with the packed records of all clients."""
    folder = tmp_path_factory.mktemp("federation")
    write_sample(folder / "raw", 6, (12, 16))
    pack("femnist", folder / "raw", folder / "whole")
    return folder / "whole"


@pytest.fixture(scope="session")
def folders(whole):
    """Folders of three nodes with two of the clients each."""
    made = []
    for place in range(3):
        folder = whole.parent / f"node{place}"
        raw = whole.parent / f"raw{place}"
        write_sample(raw, 6, (12, 16))
        keep_writers(raw, place)
        pack("femnist", raw, folder)
        tables_here(folder, JOB)
        made.append(folder)
    return made


def tables_here(folder, job):
    """Make a node's tables for a job in this process, which has pandas already."""
    tables.make(folder, Job(*job[:3]))
    if job.partition:
        tables.make(folder, job)


def keep_writers(raw, place):
    """Leave every third writer of a shard, from ``place`` on."""
    (path,) = raw.glob("*.json")
    shard = json.loads(path.read_text())
    users = shard["users"][place::3]
    data = {user: shard["user_data"][user] for user in users}
    sizes = [len(data[user]["y"]) for user in users]
    shard |= {"users": users, "user_data": data, "num_samples": sizes}
    path.write_text(json.dumps(shard))


@pytest.fixture(scope="session")
def link_to():
    """Makes a link to nodes, by number."""
    return Link


@pytest.fixture(scope="session")
def with_tables():
    """Makes a node's tables for a job, here."""
    return tables_here


@pytest.fixture
def link(link_to, folders):
    return link_to(
        {10 + place: Node(folder, True) for place, folder in enumerate(folders)}
    )


@pytest.fixture
def federation(link):
    return Federation(link, Terms(deadline=0.3, poll=0.01, pause=0.05, nodes=2))


@pytest.fixture
def job():
    return JOB


@pytest.fixture
def codebook():
    return FEMNIST.codebook(None, None)


@pytest.fixture
def here(whole, job, codebook):
    """Model, algorithm and tasks of a training in one process, and its start."""
    encoding = FEMNIST.encoding(codebook)
    model = partial(FEMNIST.model, **encoding.sizes)
    built = assemble(model, job.model, job.names, job.blocks, job.chunk)
    tables = tables_of(whole, job)
    records = read_packed(whole / RECORDS)
    make = partial(task_maker, records, *tables, encoding, seed=0)
    maml = built.algorithms["maml"]
    return built.model, maml, make(), maml.init(built.model.init(0)).meta
