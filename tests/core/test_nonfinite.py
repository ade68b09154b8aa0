"""Numbers that are not finite: a miss in every metric, never in a mean in silence."""

import math
from itertools import product

import pytest
import torch

from fedmeta.core.algorithms.common import applied_by, theta_only
from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.engine import run_rounds
from fedmeta.core.model import ForwardFlops, classifier
from fedmeta.core.optimizers import adam, sgd
from fedmeta.core.trees import is_finite
from fedmeta.core.types import (
    Algorithm,
    Batch,
    ClientOutput,
    Diverged,
    Divergence,
    Task,
    Work,
)

NONFINITE = [math.nan, math.inf, -math.inf]
BACKENDS = {"sequential": sequential, "threaded": threaded(2), "vmap": vectorized(2)}


@pytest.mark.parametrize("bad, place", list(product(NONFINITE, range(3))))
@pytest.mark.parametrize("top", [2, 3, 4])
def test_logits_that_are_not_finite_are_a_miss_in_every_metric(bad, place, top):
    logits = torch.tensor([[1.0, 2.0, 3.0]] * 4)
    logits[:3, place] = bad  # whichever class is asked for
    batch = Batch(logits, torch.tensor([0, 1, 2, 2]))
    model = classifier(dict, lambda params, x: x, ForwardFlops(0, 0), top=top)
    scores = model.score({}, batch)
    assert {n: s.tolist() for n, s in scores.items() if n != "loss"} == {
        "accuracy": [1, 4],
        f"top{top}": [1, 4],
    }


@pytest.mark.parametrize("bad", NONFINITE)
def test_the_loss_of_such_a_record_stays_what_it_is(bad):
    batch = Batch(torch.tensor([[bad, 0.0], [0.0, 0.0]]), torch.tensor([0, 0]))
    model = classifier(dict, lambda params, x: x, ForwardFlops(0, 0))
    total = float(model.score({}, batch)["loss"][0])
    assert not math.isfinite(total)


def test_a_large_sum_of_finite_numbers_is_finite():
    assert is_finite({"w": torch.full((4,), 3e38)})
    assert is_finite({})
    for bad in NONFINITE:
        assert not is_finite({"v": torch.ones(2), "w": torch.tensor([1.0, bad])})
    assert not is_finite({"w": torch.tensor([math.inf, -math.inf])})


def sending(outputs, server=sgd(1.0)) -> Algorithm:
    """Clients send what is in ``outputs``: update, weight, loss; a row a client."""

    def client_update(meta, task):
        update, weight, loss = task.query.x[0]
        return ClientOutput(
            {"theta": {"w": update[None] + 0 * meta["theta"]["w"]}},
            weight,
            {"loss": torch.stack([loss, torch.ones_like(loss)])},
        )

    return Algorithm(
        theta_only(server),
        lambda meta, support: meta["theta"],
        client_update,
        applied_by(server),
        lambda support, query: Work(0, 0, 0, 0),
    )


def trained(outputs, cohorts, backend="sequential", server=sgd(1.0), **how):
    algorithm = sending(outputs, server)

    def make_task(client, round_number):
        row = Batch(torch.tensor([outputs[client]]), torch.tensor([0]))
        return Task(row, row, torch.empty(0, 2, dtype=torch.int64))

    for_each = BACKENDS[backend](algorithm.client_update, make_task)
    state = algorithm.init({"w": torch.zeros(1)})
    return list(run_rounds(algorithm, state, cohorts, for_each, **how))


GOOD = {"ann": (1.0, 1.0, 3.0), "bob": (3.0, 1.0, 5.0)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", NONFINITE)
@pytest.mark.parametrize("place, cause", [(0, "update"), (1, "weight"), (2, "loss")])
def test_the_training_stops_at_the_first_client_that_is_not_finite(
    backend, bad, place, cause
):
    row = [1.0, 1.0, 1.0]
    row[place] = bad
    outputs = {**GOOD, "cat": tuple(row), "dan": tuple(row)}
    cohorts = [["ann", "bob"], ["bob", "cat", "dan"]]
    with pytest.raises(Diverged) as caught:
        trained(outputs, cohorts, backend)
    assert caught.value.divergence == Divergence(2, "cat", cause)
    assert str(caught.value) == (
        f"diverged in round 2: client cat: its {cause} is not finite"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_such_clients_can_be_left_out_and_are_counted(backend):
    outputs = {**GOOD, "cat": (math.nan, 1.0, 1.0), "dan": (1.0, 1.0, math.inf)}
    cohort = ["cat", "ann", "dan", "bob"]
    (_, state, metrics), (_, _, later) = trained(
        outputs, [cohort, ["ann"]], backend, skip_nonfinite=True
    )
    assert state.meta["theta"]["w"].tolist() == [-2]  # the mean of ann and bob
    assert metrics["loss"].tolist() == [8, 2]
    assert metrics["skipped_clients"].tolist() == [2, 4]
    assert later["skipped_clients"].tolist() == [0, 1]


def test_a_round_of_none_but_such_clients_stops_in_any_case():
    outputs = {**GOOD, "cat": (math.nan, 1.0, 1.0), "dan": (math.inf, 1.0, 1.0)}
    with pytest.raises(Diverged) as caught:
        trained(outputs, [["ann"], ["cat", "dan"]], skip_nonfinite=True)
    assert caught.value.divergence == Divergence(2, "cat", "update")


def test_finite_updates_may_have_a_mean_that_is_not():
    outputs = {"ann": (3e38, 1.0, 1.0), "bob": (3e38, 1.0, 1.0)}
    with pytest.raises(Diverged) as caught:
        trained(outputs, [["ann", "bob"]])
    assert caught.value.divergence == Divergence(1, "", "mean update")


@pytest.mark.parametrize("skip", [False, True])
def test_the_servers_own_overflow_is_seen(skip):
    # the square of the update is beyond float32: Adam would never move again
    outputs = {"ann": (1e25, 1.0, 1.0)}
    with pytest.raises(Diverged) as caught:
        trained(outputs, [["ann"]], server=adam(1e-3), skip_nonfinite=skip)
    assert caught.value.divergence == Divergence(1, "", "new state")
    assert "the server" in str(caught.value)
