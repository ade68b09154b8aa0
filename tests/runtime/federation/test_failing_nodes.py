"""Nodes that fail at random, all through a training."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from fedmeta.assembly import assemble
from fedmeta.benchmarks.femnist.synthetic import write_sample
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.backends import sequential
from fedmeta.core.engine import run_rounds
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.tasks import sample_cohort, task_maker
from fedmeta.runtime.federation import tables
from fedmeta.runtime.federation.node import Node
from fedmeta.runtime.federation.pack import pack
from fedmeta.runtime.federation.roster import Terms
from fedmeta.runtime.federation.rounds import Federation

NODES, ROUNDS, COHORT, FAILURES = 10, 100, 8, 0.3
SEEDS = (0, 1, 2)
FEMNIST = BENCHMARKS["femnist"]


@pytest.fixture
def job(job):
    return job._replace(model={"channels": [4, 8], "hidden": 32})


@pytest.fixture
def sample(tmp_path, job):
    """A folder with the packed records of all clients of a sample."""
    write_sample(tmp_path / "raw", 60, (30, 60))
    pack("femnist", tmp_path / "raw", tmp_path / "whole")
    tables.make(tmp_path / "whole", job)
    return tmp_path / "whole"


@pytest.fixture
def link(link, sample, job, with_tables):
    """A link to ten nodes, each with every tenth of the clients."""
    records = read_packed(sample / tables.RECORDS)
    link.held = {}
    for place in range(NODES):
        folder = sample.parent / f"node{place}"
        own = [*records.client_ids][place::NODES]
        held = (ClientRecords(client, records.columns(client)) for client in own)
        write_packed(folder / tables.RECORDS, held, records.metadata)
        with_tables(folder, job)
        link.held[place] = Node(folder)
    link.there = set(link.held)
    return link


@pytest.mark.slow
def test_three_nodes_of_ten_fail_in_every_round_and_the_model_is_as_good(
    link, sample, job, codebook
):
    encoding = FEMNIST.encoding(codebook)
    model = partial(FEMNIST.model, **encoding.sizes)
    network, built = assemble(model, job.model, job.names, job.blocks, job.chunk)
    maml, held = built["maml"], tables.tables_of(sample, job)
    records = read_packed(sample / tables.RECORDS)
    make_task = task_maker(records, *held, encoding, seed=0)
    clients = [*records.client_ids]
    trained, watched = clients[:40], clients[40:]
    lost = []

    def accuracy(seed, failures):
        rng = np.random.default_rng(seed)

        def answered(answer):
            lost.append(rng.random() < failures)
            return "lost" if lost[-1] else answer

        link.forge = dict.fromkeys(link.held, answered)
        terms = Terms(deadline=0.1, poll=0.01, pause=0, nodes=NODES)
        over = partial(Federation(link, terms).updates, job, codebook)
        state = maml.init(network.init(seed))
        cohorts = (sample_cohort(trained, COHORT, seed, t + 1) for t in range(ROUNDS))
        *_, (number, state, _) = run_rounds(maml, state, cohorts, over)
        assert number == ROUNDS
        scored = partial(evaluate_clients, maml, network, state.meta, watched)
        rows = pd.DataFrame(scored(make_task, sequential))
        return rows["accuracy_sum_after"].sum() / rows["num_query"].sum()

    without = [accuracy(seed, 0) for seed in SEEDS]
    lost.clear()
    failing = accuracy(SEEDS[0], FAILURES)
    assert np.mean(lost) == pytest.approx(FAILURES, abs=0.03)
    assert min(without) <= failing
    assert min(without) > 0.3  # of 62 classes: there is something to be lost
