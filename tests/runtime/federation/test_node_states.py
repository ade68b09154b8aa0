"""What the clients of nodes keep between rounds: the bits of one process."""

import shutil
from functools import partial

import pytest
import torch

from fedmeta.assembly import assemble
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.backends import sequential
from fedmeta.core.engine import run_rounds
from fedmeta.core.trees import tree_leaves
from fedmeta.data.federated import read_packed
from fedmeta.data.ids import Ids
from fedmeta.data.states import ClientStates, LastRounds
from fedmeta.data.tasks import task_maker
from fedmeta.pipelines.training.remote import OnNodes
from fedmeta.runtime.federation.tables import RECORDS, tables_of

FEMNIST = BENCHMARKS["femnist"]
HEAD = {
    "head": ["classifier"],
    "local": {"name": "sgd", "lr": 0.1},
    "fine_tuning": {"optimizer": {"name": "sgd", "lr": 0.1}},
}
OPTIONS = {
    "fedper": HEAD,
    "fedrep": HEAD,
    "scaffold": {"lr": 0.1},
}
ROUNDS = 4


@pytest.fixture(params=OPTIONS)
def job(job, request):
    name = request.param
    return job._replace(names=[name], blocks={name: OPTIONS[name]})


@pytest.fixture
def ids(whole):
    return list(read_packed(whole / RECORDS).client_ids)


@pytest.fixture
def cohorts(ids):
    """Some clients take part again, some later, some never."""
    return [[ids[n] for n in drawn] for drawn in ((3, 0, 4), (0, 1), (4, 0), (1, 3))]


@pytest.fixture
def built(job, codebook):
    model = partial(FEMNIST.model, **FEMNIST.encoding(codebook).sizes)
    return assemble(model, job.model, job.names, job.blocks, job.chunk, 6)


@pytest.fixture
def algorithm(built, job):
    return built.algorithms[job.names[0]]


@pytest.fixture
def start(built, algorithm):
    return algorithm.init(built.model.init(0))


@pytest.fixture
def wanted(whole, job, codebook, algorithm, start, ids, cohorts, tmp_path):
    """The states of the server in one process."""
    tables, records = tables_of(whole, job), read_packed(whole / RECORDS)
    encoding = FEMNIST.encoding(codebook)
    make_task = task_maker(
        records, *tables, encoding, passes=algorithm.passes, **job.tasks
    )
    kept = ClientStates(tmp_path, Ids(ids))
    make_task = kept.given(make_task, algorithm.client_state(start.meta))
    over = sequential(algorithm.client_update, make_task)
    rounds = run_rounds(algorithm, start, cohorts, over, keep=kept.keep)
    return [state for _, state, _ in rounds]


@pytest.fixture
def nodes(federation, job, codebook, ids, folders):
    yield OnNodes(federation, job, codebook, LastRounds(Ids(ids)))
    for folder in folders:
        shutil.rmtree(folder / "states", ignore_errors=True)


def trained(algorithm, state, cohorts, nodes):
    rounds = run_rounds(algorithm, state, cohorts, nodes.updates, keep=nodes.kept.keep)
    return [after for _, after, _ in rounds]


def assert_same(found, wanted):
    pairs = zip(tree_leaves(found), tree_leaves(wanted), strict=True)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)


def test_rounds_are_those_of_one_process(algorithm, start, cohorts, nodes, wanted):
    assert_same(trained(algorithm, start, cohorts, nodes), wanted)


def test_states_stay_on_their_nodes(
    algorithm, start, cohorts, nodes, folders, link, ids
):
    trained(algorithm, start, cohorts, nodes)
    for folder in folders:
        held = len(read_packed(folder / RECORDS).client_ids)
        assert len(list(folder.glob("states/*/*"))) <= held
    assert list(folders[0].glob("states/*/*/4.safetensors"))
    told = [question for _, question in link.asked if question.kind == "train"]
    for question in told:  # and nodes hear of their own clients alone
        work = question.values["work"]
        assert work["after"].keys() <= {*work["clients"]}


def test_a_server_that_goes_back_gets_the_states_of_then(
    algorithm, start, cohorts, nodes, wanted
):
    trained(algorithm, start, cohorts[:2], nodes)
    checkpoint = nodes.kept.rounds
    nodes.kept.settle(2)
    trained(algorithm, wanted[1], cohorts[2:], nodes)  # a checkpoint never covers it
    nodes.kept.resume(checkpoint, 2)
    assert_same(trained(algorithm, wanted[1], cohorts[2:], nodes), wanted[2:])


def test_a_lost_answer_counts_for_nothing(
    algorithm, start, cohorts, nodes, ids, federation, job, codebook, folders
):
    """The node has a state of that round, and goes on from the one before."""
    first, again = [ids[0]], {}
    for lost in (True, False):
        nodes.kept.clear()
        state = trained(algorithm, start, [first], nodes)[-1]
        if lost:  # of round 2
            list(federation.updates(job, codebook, state.meta, first, 2, {first[0]: 1}))
        again[lost] = dict(nodes.updates(state.meta, first, 3))[ids[0]]
    assert_same(again[True].update, again[False].update)


def test_only_states_that_a_checkpoint_may_need_are_kept(
    algorithm, start, ids, nodes, folders
):
    state = start
    for number in range(1, ROUNDS + 1):
        (state,) = trained(algorithm, state, [[ids[0]]], nodes)
        nodes.kept.settle(number)
    (folder,) = [f for f in folders if list(f.glob("states/*/*"))]
    kept = sorted(int(p.stem) for p in folder.glob("states/*/*/*"))
    assert kept == [3, 4]


def test_a_node_that_has_lost_its_states_says_so(
    algorithm, start, cohorts, nodes, folders, caplog, federation
):
    state = trained(algorithm, start, cohorts[:1], nodes)[-1]
    for folder in folders:
        shutil.rmtree(folder / "states", ignore_errors=True)  # one has had no client
    federation.terms = federation.terms._replace(least=0.0)
    assert dict(nodes.updates(state.meta, cohorts[1], 2)).keys() == {cohorts[1][1]}
    assert f"client {cohorts[0][1]} has kept after round 1 is not there" in caplog.text
