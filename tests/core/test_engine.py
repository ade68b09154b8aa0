"""The round loop, with algorithms of one line."""

import pytest
import torch
from toys import SIZES, assert_trees_equal, tasks

from fedmeta.core.algorithms import fedavg
from fedmeta.core.algorithms.common import applied_by, theta_only
from fedmeta.core.backends import sequential
from fedmeta.core.engine import run_rounds
from fedmeta.core.optimizers import adam, sgd
from fedmeta.core.types import Algorithm, ClientOutput, Work

# client -> (what it sends, weight, loss summed over its records, records)
SENDS = {"ann": (1.0, 1.0, 6.0, 2.0), "bob": (4.0, 3.0, 3.0, 4.0)}


def sending(server) -> Algorithm:
    """Clients send a constant, whatever they are given."""

    def client_update(meta, client):
        update, weight, total, count = SENDS[client]
        return ClientOutput(
            {"theta": {"w": torch.tensor([update])}},
            torch.tensor(weight),
            {"loss": torch.tensor([total, count])},
        )

    return Algorithm(
        theta_only(server),
        lambda meta, support: meta["theta"],
        client_update,
        applied_by(server),
        lambda support, query: Work(0, 0),
    )


def start(algorithm):
    return algorithm.init({"w": torch.tensor([10.0])})


def rounds(algorithm, cohorts, state=None):
    for_each = sequential(algorithm.client_update, lambda client, _: client)
    return run_rounds(algorithm, state or start(algorithm), cohorts, for_each)


def test_two_rounds_by_hand():
    # mean update (1 * 1 + 3 * 4) / 4 = 3.25; 10 - .5 * 3.25 = 8.375; then ann alone
    algorithm = sending(sgd(0.5))
    (one, first, metrics), (two, second, _) = rounds(
        algorithm, [["ann", "bob"], ["ann"]]
    )
    assert (one, first.round, two, second.round) == (1, 1, 2, 2)
    assert first.meta["theta"]["w"] == 8.375
    assert second.meta["theta"]["w"] == 7.875
    assert metrics["loss"].tolist() == [9, 6]


def test_metrics_are_of_one_round():
    metrics = [
        m["loss"].tolist() for _, _, m in rounds(sending(sgd(1.0)), [["ann"]] * 2)
    ]
    assert metrics == [[6, 2], [6, 2]]


def test_the_servers_adam_remembers():
    """A new Adam every round would always step by lr: it divides by its own slope."""
    algorithm = sending(adam(0.1))
    *_, (_, state, _) = rounds(algorithm, [["ann"], ["bob"], ["ann"]])
    theirs = torch.tensor([10.0], requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr=0.1)
    for slope in (1.0, 4.0, 1.0):
        theirs.grad = torch.tensor([slope])
        optimizer.step()
    torch.testing.assert_close(state.meta["theta"]["w"], theirs.detach())
    assert state.opt_state["step"]["theta"]["w"] == 3


def test_rounds_go_on_from_a_state():
    algorithm = sending(adam(0.1))
    whole = [s for _, s, _ in rounds(algorithm, [["ann"], ["bob"], ["ann"]])]
    ((number, last, _),) = rounds(algorithm, [["ann"]], whole[1])
    assert number == 3
    assert_trees_equal(last._asdict()["meta"], whole[2].meta)
    assert_trees_equal(last.opt_state, whole[2].opt_state)


def test_states_yielded_earlier_stay_as_they_were():
    algorithm = sending(adam(0.1))
    seen = [
        (state, state.meta["theta"]["w"].clone())
        for _, state, _ in rounds(algorithm, [["ann"]] * 3)
    ]
    for state, value in seen:
        assert state.meta["theta"]["w"] == value


def test_the_caller_may_leave():
    asked = []

    def cohorts():
        for number in range(1, 100):
            asked.append(number)
            yield ["ann"]

    for number, _, _ in rounds(sending(sgd(1.0)), cohorts()):
        if number == 2:
            break
    assert asked == [1, 2]


def test_clients_get_the_round_and_its_broadcast():
    calls = []
    algorithm = sending(sgd(1.0))

    def for_each(meta, cohort, number):
        calls.append((meta["theta"]["w"].item(), tuple(cohort), number))
        for client in cohort:
            yield client, algorithm.client_update(meta, client)

    list(run_rounds(algorithm, start(algorithm), [["ann"], ["bob", "ann"]], for_each))
    assert calls == [(10, ("ann",), 1), (9, ("bob", "ann"), 2)]


def test_a_round_without_clients_is_refused():
    with pytest.raises(ValueError, match="weighted mean needs clients"):
        next(rounds(sending(sgd(1.0)), [[]]))


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ("uniform", [1, 1]),
        ("num_examples", [8, 7]),  # of ann 3 + 5, of bob 5 + 2
        ("num_query", [5, 2]),
    ],
)
def test_weights_of_the_mean(weights, shares):
    make_task = tasks()
    update = fedavg(
        lambda p, b: p["w"].sum(), local=sgd(0.1), weights=weights
    ).client_update
    meta = {"theta": {"w": torch.zeros(1).double()}}
    assert list(SIZES.values())[:2] == [(3, 5), (5, 2)]
    got = [float(update(meta, make_task(c, 1)).weight) for c in ("ann", "bob")]
    assert got == shares
