"""The unified network: against one-hots that are really made, and on rules to learn."""

import math
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from fedmeta.core.algorithms.common import theta_only
from fedmeta.core.optimizers import adam
from fedmeta.core.trees import is_finite
from fedmeta.core.types import Diverged
from fedmeta.recommenders.unified import (
    Records,
    fine_tune,
    initial,
    logits,
    part_of,
    pretrain,
    score,
    scores,
)

FEATURES, USERS, SERVICES = 6, 5, 9
USER_OF = {name: number for number, name in enumerate(["ann", "bob", "cy", "dee"])}


def network(dtype=torch.float32, **sizes):
    sizes = {"features": FEATURES, "users": USERS, "services": SERVICES} | sizes
    drawn = initial(0, **{"hidden": 8} | sizes)
    return {name: p.to(dtype) for name, p in drawn.items()}


def random_records(count, seed, dtype=torch.float32):
    """Labels that follow from nothing; the first record has no previous service."""
    generator = torch.Generator().manual_seed(seed)
    service = torch.randint(SERVICES, (count,), generator=generator)
    previous = torch.cat([torch.tensor([-1]), service[:-1]])
    x = (torch.rand(count, FEATURES, generator=generator) < 0.4).to(dtype)
    return Records(x, service, previous)


def steps_of_a_ring(count, stride, start=0):
    """The service after number i is number i + ``stride`` on a ring of them."""
    service = (start + stride * torch.arange(count)) % SERVICES
    previous = torch.cat([torch.tensor([-1]), service[:-1]])
    return Records(torch.ones(count, FEATURES), service, previous)


def split(client, support, query):
    columns = ["client_id", "support_fraction", "num_support", "num_query"]
    return pd.DataFrame([(client, 0.8, support, query)], columns=columns)


def start(params, lr=1e-3):
    return theta_only(adam(lr))(params)


def last(states):
    *_, (step, state, metrics) = states
    return step, state, metrics


def test_the_paper_s_network_has_918452_parameters():
    params = initial(0, features=103, users=9_369, services=2_420)
    count = sum(p.numel() for p in params.values())
    assert count == 918_452 == 11_892 * 64 + 64 + 64 * 2_420 + 2_420


def test_weights_are_glorot_s_and_biases_zero():
    params = network(hidden=50)
    first = math.sqrt(6 / (FEATURES + USERS + SERVICES + 50))
    bounds = {name: first for name in params if name.split(".")[0] != "output"}
    bounds["output.weight"] = math.sqrt(6 / (50 + SERVICES))
    for name, p in params.items():
        if name.endswith("bias"):
            assert not p.any()
        else:
            assert 0.95 * bounds[name] < p.abs().max() <= bounds[name]


def test_values_and_gradient_are_those_with_one_hots_made():
    params = network(torch.float64)
    params["hidden.bias"] += 0.1  # no unit sits on the kink
    records = random_records(20, seed=1, dtype=torch.float64)
    user = torch.arange(20) % USERS
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    ours = logits(leaves, records.x, user, records.previous)
    F.cross_entropy(ours, records.service).backward()

    one_hots = [
        records.x,
        torch.eye(USERS, dtype=torch.float64)[user],
        # the last row stands for -1, none
        torch.cat([torch.eye(SERVICES), torch.zeros(1, SERVICES)])[
            records.previous
        ].double(),
    ]
    blocks = ["features.weight", "user.weight", "previous.weight"]
    first = torch.cat([params[name] for name in blocks]).requires_grad_()
    rest = [params[n].clone().requires_grad_() for n in list(params)[3:]]
    hidden = F.relu(torch.cat(one_hots, 1) @ first + rest[0])
    theirs = hidden @ rest[1].T + rest[2]
    F.cross_entropy(theirs, records.service).backward()

    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    slopes = torch.cat([leaves[name].grad for name in blocks])
    torch.testing.assert_close(slopes, first.grad, rtol=0, atol=1e-15)
    for name, leaf in zip(list(params)[3:], rest, strict=True):
        torch.testing.assert_close(leaves[name].grad, leaf.grad, rtol=0, atol=1e-15)


def test_one_user_s_number_serves_all_records():
    params, records = network(), random_records(4, seed=2)
    one = logits(params, records.x, 3, records.previous)
    each = logits(params, records.x, torch.full((4,), 3), records.previous)
    torch.testing.assert_close(one, each, rtol=0, atol=0)
    assert not torch.equal(one, logits(params, records.x, 2, records.previous))


def test_no_previous_service_is_no_row():
    params = network()
    x = torch.ones(2, FEATURES)
    neither = logits(params, x, 0, torch.tensor([-1, -1]))
    silent = params | {"previous.weight": torch.zeros(SERVICES, 8)}
    torch.testing.assert_close(neither, logits(silent, x, 0, torch.tensor([0, 8])))
    assert not torch.equal(neither, logits(params, x, 0, torch.tensor([0, 8])))


def test_a_step_is_adam_s_on_the_drawn_records():
    # One user of two equal records: half of them, rounded up, is one, whichever.
    record = random_records(1, seed=3, dtype=torch.float64)
    records = Records(*(column.repeat_interleave(2, 0) for column in record))
    params = network(torch.float64)
    state = start(params, lr=0.1)
    stepped = pretrain(state, ["bob"], lambda _: records, USER_OF, steps=1, lr=0.1)
    step, after, metrics = last(stepped)

    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.1)
    loss = F.cross_entropy(
        logits(leaves, record.x, USER_OF["bob"], record.previous), record.service
    )
    loss.backward()
    optimizer.step()
    assert step == after.round == 1
    wanted = {name: leaf.detach() for name, leaf in leaves.items()}
    torch.testing.assert_close(after.meta["theta"], wanted)
    assert metrics["loss"].tolist() == pytest.approx([loss.item(), 1])
    # the state that was handed in is still the one before
    torch.testing.assert_close(state.meta["theta"], network(torch.float64))
    assert not any(m.any() for m in state.opt_state["mean"]["theta"].values())


@pytest.mark.parametrize(("count", "size"), [(1, 1), (7, 4), (8, 4), (9, 5), (30, 5)])
def test_a_batch_is_half_of_the_records_or_the_most_allowed(count, size):
    records = random_records(count, seed=4)
    state = start(network())
    *_, metrics = last(
        pretrain(state, ["ann"], lambda _: records, USER_OF, steps=1, batch_size=5)
    )
    assert metrics["loss"][1] == size


def test_a_batch_has_no_record_twice():
    # Of two records of different labels a batch of two holds both: the mean loss of
    # uniform scores is their mean, where the first alone has another bias.
    params = network()
    params = {name: torch.zeros_like(p) for name, p in params.items()}
    params["output.bias"][0] = 1.0
    labels = torch.tensor([0, 1, 1])
    records = Records(torch.zeros(3, FEATURES), labels, torch.full((3,), -1))
    logs = torch.log_softmax(params["output.bias"], 0)
    possible = [float(-logs[0] - logs[1]), float(-2 * logs[1])]  # never 0 and 0
    for seed in range(20):
        *_, metrics = last(
            pretrain(
                start(params), ["ann"], lambda _: records, USER_OF, steps=1, seed=seed
            )
        )
        assert min(abs(float(metrics["loss"][0]) - p) for p in possible) < 1e-5


def test_steps_go_over_the_users_and_seeds_differ():
    drawn = {}
    for seed in (0, 1):
        drawn[seed] = []

        def records_of(client, names=drawn[seed]):
            names.append(client)
            return random_records(6, seed=USER_OF[client])

        last(
            pretrain(
                start(network()),
                list(USER_OF),
                records_of,
                USER_OF,
                steps=40,
                seed=seed,
            )
        )
        assert set(drawn[seed]) == set(USER_OF) and len(drawn[seed]) == 40
    assert drawn[0] != drawn[1]


def test_resumed_is_unbroken():
    def run(state, steps):
        return pretrain(
            state,
            list(USER_OF),
            lambda client: random_records(20, seed=USER_OF[client]),
            USER_OF,
            steps=steps,
            report_every=4,
        )

    unbroken = list(run(start(network()), 10))
    assert [step for step, *_ in unbroken] == [4, 8, 10]
    # States are copies: what came after did not reach into the first.
    _, halfway, _ = next(run(start(network()), 10))
    torch.testing.assert_close(unbroken[0][1], halfway, rtol=0, atol=0)
    # A checkpoint hands the names back in another order.
    theta = dict(sorted(halfway.meta["theta"].items()))
    halfway = halfway._replace(meta={"theta": theta})
    resumed = list(run(halfway, 10))
    assert [step for step, *_ in resumed] == [8, 10]
    torch.testing.assert_close(unbroken[1:], resumed, rtol=0, atol=0)
    other = last(run(start(network()), 9))[1].meta["theta"]
    assert not torch.equal(other["output.weight"], theta["output.weight"])


def test_a_part_fine_tuned_is_the_whole_fine_tuned():
    whole = network(torch.float64)
    records = random_records(12, seed=5, dtype=torch.float64)._replace(
        previous=torch.tensor([-1, 7, 2, 2, 7, -1, 2, 7, 2, 4, 2, 7])
    )
    support, query = (
        Records(*(column[rows] for column in records))
        for rows in (slice(0, 9), slice(9, 12))
    )
    tuned = fine_tune(whole, support, 3, np.random.default_rng(0), steps=30, lr=0.01)

    part, previous = part_of(whole, 3, records.previous)
    assert previous.tolist() == [-1, 2, 0, 0, 2, -1, 0, 2, 0, 1, 0, 2]
    assert part["user.weight"].shape == (1, 8)
    assert part["previous.weight"].shape == (3, 8)
    few = fine_tune(
        part,
        support._replace(previous=previous[:9]),
        0,
        np.random.default_rng(0),
        steps=30,
        lr=0.01,
    )

    close = {"rtol": 0, "atol": 1e-12}
    for name in set(whole) - {"user.weight", "previous.weight"}:
        torch.testing.assert_close(few[name], tuned[name], **close)
    torch.testing.assert_close(few["user.weight"][0], tuned["user.weight"][3], **close)
    rows = tuned["previous.weight"]
    torch.testing.assert_close(few["previous.weight"], rows[[2, 4, 7]], **close)
    # The row that only the query touches, and those of others, stay where they were.
    for number in (0, 1, 4, 8):
        assert torch.equal(rows[number], whole["previous.weight"][number])
    assert not torch.equal(rows[2], whole["previous.weight"][2])
    torch.testing.assert_close(
        logits(few, query.x, 0, previous[9:]),
        logits(tuned, query.x, 3, query.previous),
        **close,
    )


def test_a_user_without_any_previous_service_has_a_part():
    records = random_records(1, seed=6)
    part, previous = part_of(network(), 2, records.previous)
    assert part["previous.weight"].shape == (0, 8)
    support = records._replace(previous=previous)
    tuned = fine_tune(part, support, 0, np.random.default_rng(0), steps=300, lr=0.01)
    assert score(tuned, support, 0)[:2] == (1, 1)


def test_hits_by_hand():
    params = {name: torch.zeros_like(p) for name, p in network().items()}
    params["output.bias"] = torch.tensor([0, 5.0, 1, 4, 2, 3, -1, -2, -3])
    # best first: 1, 3, 5, 4, 2, 0, ...
    labels = torch.tensor([1, 1, 3, 4, 2, 8])
    query = Records(torch.zeros(6, FEATURES), labels, torch.full((6,), -1))
    assert score(params, query, 0)[:2] == (2, 4)
    bias = params["output.bias"].double()
    loss = (bias.exp().sum().log() - bias[labels]).sum()
    assert score(params, query, 0)[2] == pytest.approx(float(loss))
    few = {n: p[:3] if n.startswith("output") else p for n, p in params.items()}
    three = Records(*(column[:2] for column in query))
    assert score(few, three, 0)[:2] == (2, 2)  # three services: the four best are they


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_diverged_hits_nothing(bad):
    params = {name: torch.zeros_like(p) for name, p in network().items()}
    labels = torch.arange(9)  # whichever service is the right one
    query = Records(torch.zeros(9, FEATURES), labels, torch.full((9,), -1))
    wild = {**params, "output.bias": torch.full((9,), bad)}
    top1, top4, loss = score(wild, query, 0)
    assert (top1, top4, math.isfinite(loss)) == (0, 0, False)


def test_pre_training_that_diverges_yields_no_state():
    state = start(network(hidden=4), lr=1e30)
    steps = pretrain(state, ["ann"], ring_of, USER_OF, steps=9, lr=1e30, report_every=1)
    with pytest.raises(Diverged) as caught:
        for step, reached, _ in steps:
            assert is_finite(reached.meta)
    assert caught.value.divergence.round == step + 1


def ring_of(client):
    """All users but dee go round the ring one by one; she skips a service."""
    return steps_of_a_ring(60, stride=2 if client == "dee" else 1)


@pytest.fixture(scope="module")
def trained_on_rings():
    clients = ["ann", "bob"]
    state = start(network(hidden=32), lr=0.01)
    states = pretrain(state, clients, ring_of, USER_OF, steps=300, lr=0.01)
    return last(states)[1].meta["theta"]


def test_a_new_user_is_served_by_the_rule_of_the_others(trained_on_rings):
    splits = split("cy", 1, 12)
    table = scores(trained_on_rings, splits, ring_of, USER_OF, steps=0)
    assert table[["top1", "top4", "steps"]].to_numpy().tolist() == [[12, 12, 0]]


def test_fine_tuning_learns_a_rule_of_one_s_own(trained_on_rings):
    few, many = split("dee", 3, 12), split("dee", 48, 12)
    splits = pd.concat([few, many, few], ignore_index=True)

    def run(**options):
        return scores(trained_on_rings, splits, ring_of, USER_OF, lr=0.01, **options)

    assert run(steps=0)["top1"].tolist() == [0, 0, 0]
    table = run(steps=100, workers=2)
    assert list(table) == [*splits, "steps", "top1", "top4", "loss_sum"]
    assert table["top1"][1] == 12 and table["top1"][0] < 12
    assert table.iloc[2].equals(table.iloc[0])
    assert (table["steps"] == 100).all() and (table["num_query"] == 12).all()
    pd.testing.assert_frame_equal(table, run(steps=100))


def test_scores_are_the_hits_of_the_whole_network_fine_tuned():
    def records_of(client):
        records = random_records(40, seed=20 + USER_OF[client])
        records.x[15:30] = torch.nan  # between support and query: not to be looked at
        return records

    params, names = network(), ["cy", "dee", "bob"]
    splits = pd.concat([split(name, 15, 10) for name in names], ignore_index=True)
    options = {"steps": 40, "batch_size": 6, "lr": 0.02}
    table = scores(params, splits, records_of, USER_OF, seed=5, **options)
    for name, row in zip(names, table.itertuples(), strict=True):
        records, user = records_of(name), USER_OF[name]
        support = Records(*(column[:15] for column in records))
        query = Records(*(column[30:] for column in records))
        rng = np.random.default_rng([5, crc32(name.encode())])
        tuned = fine_tune(params, support, user, rng, **options)
        *hits, loss = score(tuned, query, user)
        assert [row.top1, row.top4] == hits
        assert row.loss_sum == pytest.approx(loss, rel=1e-4)
    assert 0 < table["top4"].sum() < 30
    other = scores(params, splits, records_of, USER_OF, seed=6, **options)
    assert not other.equals(table)
