"""Rounds over nodes: the bits of one process, and what loses a client."""

import threading
import tomllib
from pathlib import Path

import pytest
import torch

from fedmeta.core.backends import sequential
from fedmeta.core.compression import compressed
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.core.trees import tree_leaves
from fedmeta.data.federated import read_packed
from fedmeta.options import build, compression_from
from fedmeta.runtime.federation.node import Node
from fedmeta.runtime.federation.roster import Terms
from fedmeta.runtime.federation.rounds import ALL
from fedmeta.runtime.federation.tables import RECORDS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cohort(whole):
    """All clients, those of a node not beside each other."""
    ids = list(read_packed(whole / RECORDS).client_ids)
    return [ids[place] for place in (3, 0, 4, 5, 2, 1)]


@pytest.fixture
def rounds(federation, job, codebook, here, cohort):
    """The outputs of a round."""
    return lambda: dict(federation.updates(job, codebook, here[3], cohort, 7))


def same(one, other):
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("megabytes", [0.0, 128.0])  # one client an answer, or two
def test_the_outputs_are_those_of_one_process_in_the_order_of_the_cohort(
    federation, job, codebook, here, cohort, megabytes
):
    _, maml, make_task, meta = here
    federation.terms = federation.terms._replace(megabytes=megabytes)
    found = list(federation.updates(job, codebook, meta, cohort, 7))
    wanted = list(sequential(maml.client_update, make_task)(meta, cohort, 7))
    assert [client for client, _ in found] == cohort
    assert all(same(a, b) for (_, a), (_, b) in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["int8", "top_k"])
def test_compressed_updates_are_those_of_one_process(
    federation, job, codebook, here, cohort, name
):
    _, maml, make_task, meta = here
    option = {"name": name, **({"fraction": 0.3} if name == "top_k" else {})}
    job = job._replace(compression=option)
    backend = compressed(sequential, compression_from(option))
    wanted = dict(backend(maml.client_update, make_task)(meta, cohort, 7))
    found = dict(federation.updates(job, codebook, meta, cohort, 7))
    assert all(same(found[c].update, wanted[c].update) for c in cohort)


def test_scores_are_those_of_one_process(federation, job, codebook, here, cohort):
    model, maml, make_task, meta = here
    wanted = evaluate_clients(maml, model, meta, cohort, make_task, sequential)
    found = federation.scores(job, codebook, "maml", meta, cohort)
    assert list(found) == list(wanted)


def test_a_node_whose_owner_wants_it_tells_sums_only(
    federation, link, job, codebook, here, cohort
):
    model, maml, make_task, meta = here
    link.held[11] = Node(link.held[11].folder, rows=False)
    rows = list(federation.scores(job, codebook, "maml", meta, cohort))
    wanted = list(evaluate_clients(maml, model, meta, cohort, make_task, sequential))
    (summed,) = [row for row in rows if row["client_id"] == f"{ALL} 11"]
    own = [r for r in wanted if r["client_id"] in {cohort[5], cohort[2]}]
    assert len(rows) == len(cohort) - 1
    for name, value in summed.items():
        if name != "client_id":
            assert value == pytest.approx(sum(row[name] for row in own))


def test_an_empty_cohort_asks_nobody(federation, link, job, codebook, here):
    assert not list(federation.updates(job, codebook, here[3], [], 1))
    assert not link.asked


def test_a_slow_node_is_given_up_at_the_deadline(rounds, link, cohort, caplog):
    rounds()
    link.lost = {12}
    found = rounds()
    assert [c for c in cohort if c in found] == list(found)
    assert len(found) == 4
    assert "node 12 is left out, with 2 clients: no answer in time" in caplog.text


def test_nodes_leave_and_join(rounds, federation, link, caplog):
    federation.terms = federation.terms._replace(least=0.3)
    link.there = {10, 11}
    assert len(rounds()) == 4
    assert "is not there" in caplog.text
    link.there = {12}  # fewer than there have to be to begin
    assert len(rounds()) == 2
    link.there = {11, 12}
    assert len(rounds()) == 4
    assert "node 10 cannot be reached any more" in caplog.text
    link.there = {10, 11, 12}
    assert len(rounds()) == 6


def test_too_few_are_waited_for(rounds, federation, link, cohort, caplog):
    federation.terms = federation.terms._replace(least=1.0)
    rounds()
    link.there = {10, 11}
    threading.Timer(0.3, lambda: link.there.add(12)).start()
    found = rounds()
    assert len(found) == 6
    assert "round 7: 4 of 6 clients have answered, and 6 are needed" in caplog.text
    assert [*found][-2:] == [c for c in cohort if c in [*found][-2:]]


def test_an_answer_in_time_outlives_the_wait_for_another(rounds, link, federation):
    rounds()
    assert {life > federation.terms.deadline for life in link.lifetimes} == {True}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"deadline": 0.0}, "'deadline': expected more than 0"),
        ({"least": 0.0}, "'least': expected more than 0"),
        ({"least": 1.5}, "'least': expected 1 or less"),
        ({"megabytes": -1.0}, "'megabytes': expected 0 or more"),
        ({"nodes": 0}, "'nodes': expected 1 or more"),
    ],
)
def test_terms_by_which_no_round_could_end_are_refused(options, told):
    """Those of the app's pyproject.toml, and of --run-config."""
    app = tomllib.loads((ROOT / "federation/pyproject.toml").read_text())
    config = app["tool"]["flwr"]["app"]["config"]
    given = {name: config[name] for name in Terms._fields if name in config}
    assert build(Terms, given, "run-config") == Terms()
    with pytest.raises(ValueError, match=told):
        build(Terms, {**given, **options}, "run-config")


def test_nothing_begins_with_too_few_nodes(federation, link, job, caplog):
    link.there = {10}
    threading.Timer(0.3, lambda: link.there.update({11, 12})).start()
    assert len(federation.roster.held(job)) == 3
    assert "waiting for nodes: 1 take part, and 2 are needed" in caplog.text


def wider(arrays):
    name = min(arrays)
    return {**arrays, name: arrays[name].repeat(2, axis=0)}


def scaled(factor):
    return lambda arrays: {name: array * factor for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (wider, "of shape"),
        (lambda arrays: {**arrays, "theta/more": arrays[min(arrays)]}, "theta/more"),
        (scaled(float("nan")), "it is not finite"),
        (scaled(1e9), "its norm is"),
    ],
)
def test_an_update_that_cannot_be_used_is_refused_and_its_node_named(
    rounds, link, changed, said, caplog
):
    def forge(answer):
        arrays = {group: changed(held) for group, held in answer.arrays.items()}
        return answer._replace(arrays=arrays)

    link.forge[11] = forge
    found = rounds()
    assert len(found) == 4
    assert "node 11: what it says of client" in caplog.text
    assert said in caplog.text


def told_of_each(**changes):
    """Changes what an answer tells of each client."""

    def forge(answer):
        told = answer.values["answer"]["clients"]
        rows = [{**row, **changes} for row in told]
        return answer._replace(values={"answer": {"clients": rows}})

    return forge


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight": 1e6}, "its weight 1e+06 is none of"),
        ({"weight": 0}, "its weight 0 is none of"),
        ({"weight": 1e-9}, "its weight 1e-09 is none of"),
        ({"weight": 10**400}, ""),
        ({"weight": "1"}, ""),
        ({"metrics": {"loss": [1.0, 2.0, 3.0]}}, "its metrics are no pairs"),
        ({"metrics": {"loss": 1.0}}, "its metrics are no pairs"),
        ({"metrics": [1.0, 2.0]}, ""),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(rounds, link, changes, said, caplog):
    link.forge[11] = told_of_each(**changes)
    assert len(rounds()) == 4
    assert "node 11: what it says of client" in caplog.text
    assert said in caplog.text


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"num_query": 10**9},
        {"num_support": -1},
        {"num_query": None},
        {"accuracy_sum_after": 1e9},
        {"accuracy_sum_before": float("nan")},
        {"loss_sum_after": "much"},
        {"more": 1.0},
    ],
)
def test_scores_that_cannot_be_used_are_refused(
    federation, link, job, codebook, here, cohort, rows, changes, caplog
):
    def forge(answer):
        told = answer.values["answer"]
        changed = [{**row, **changes} for row in told["rows"]]
        return answer._replace(values={"answer": {**told, "rows": changed}})

    link.held[11] = Node(link.held[11].folder, rows)
    link.forge[11] = forge
    found = list(federation.scores(job, codebook, "maml", here[3], cohort))
    assert len(found) == 4
    assert "node 11: what it says of client" in caplog.text


def test_an_answer_without_what_was_asked_for_is_refused(rounds, link, caplog):
    link.forge[11] = lambda answer: answer._replace(arrays={})
    assert len(rounds()) == 4
    assert "node 11: what it says of client" in caplog.text


def test_a_node_that_was_slow_to_say_what_it_holds_is_asked_again(rounds, link):
    late = {11: iter([True, False]), 12: iter([True, False])}
    answer = link._answer
    link._answer = lambda node, question: (
        "too late" if next(late.get(node, iter([])), False) else answer(node, question)
    )
    assert len(rounds()) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": None},
        {"stop": [3]},  # of two clients
        {"start": ["none", "none"]},
        {"stop": [-1, -1]},
        {"client_id": [["a"], ["b"]]},
        {"checksum": "none"},
        {"metadata": None},
        {"columns": 1},
    ],
)
def test_a_node_that_does_not_say_what_it_holds_takes_no_part(
    rounds, link, changes, caplog
):
    answer = link._answer

    def changed(node, question):
        found = answer(node, question)
        if node != 11 or question.kind != "query":
            return found
        told = {**found.values["answer"], **changes}
        return found._replace(values={"answer": told})

    link._answer = changed
    assert len(rounds()) == 4
    assert "node 11 takes no part: its answer cannot be read" in caplog.text


def test_a_client_on_two_nodes_stops_the_run(rounds, link):
    link.held[12] = link.held[11]
    with pytest.raises(ValueError, match=r"is on node 11 and on node 12; pack one"):
        rounds()


def test_a_node_of_another_version_takes_no_part(federation, job, caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedmeta.runtime.federation.roster.time.sleep", stop)
        with pytest.raises(Stop):
            federation.roster.held(job._replace(version="other"))
    assert "node 10 takes no part: another version of this package" in caplog.text


class Stop(Exception):
    """Ends a wait that would last for ever."""


def stop(_):
    raise Stop
