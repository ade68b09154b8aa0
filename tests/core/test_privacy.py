"""Clipping and noise, by numbers done by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_engine import sending
from toys import assert_trees_equal

from fedmeta.core.engine import run_rounds
from fedmeta.core.optimizers import sgd
from fedmeta.core.privacy import clip_factor, noise_to_signal, private
from fedmeta.core.types import Diverged, ServerState

ONES = SimpleNamespace(standard_normal=np.ones)  # a generator that draws 1


def meta_of(**values):
    return {"theta": {name: torch.tensor(value) for name, value in values.items()}}


def drawn(number):
    return np.random.default_rng(number)


def private_mean(updates, meta, noise, clip=1.0, noise_multiplier=2.0, number=1):
    options = {"clip": clip, "noise_multiplier": noise_multiplier, "cohort": 4}
    algorithm = private(sending(sgd(1.0)), **options, noise=noise)
    state = ServerState(meta, {}, number - 1)
    pairs = ((torch.tensor(weight), update) for weight, update in updates)
    return algorithm.aggregate(state, pairs)


def test_the_norm_is_of_all_leaves_of_all_groups():
    update = {"theta": {"a": torch.tensor([2.0]), "b": torch.tensor([[1.0, 2.0]])}}
    update["alpha"] = {"a": torch.tensor(4.0)}  # 4 + 1 + 4 + 16 = 25
    assert clip_factor(update, 1.0) == 1 / 5
    assert clip_factor(update, 5.0) == clip_factor(update, 6.0) == 1
    assert clip_factor(meta_of(a=[0.0, 0.0]), 1.0) == 1


def test_mean_by_hand():
    # norms 5 and .5: (.6, .8) and (.3, .4) -> (.9, 1.2) / 4; noise 2 * 1 / 4 * 1
    updates = [(7.0, meta_of(a=[3.0], b=4.0)), (1.0, meta_of(a=[0.3], b=0.4))]
    mean = private_mean(updates, meta_of(a=[0.0], b=0.0), lambda number: ONES)
    torch.testing.assert_close(mean, meta_of(a=[0.725], b=0.8))
    assert updates[0][1]["theta"]["a"] == 3  # a client's own is not overwritten


def test_a_round_without_clients_has_noise_alone():
    options = {"clip": 1.0, "noise_multiplier": 2.0, "cohort": 4}
    algorithm = private(sending(sgd(1.0)), **options, noise=lambda _: ONES)

    def waits(meta, cohort, number):  # as a backend whose clients come and go
        raise AssertionError

    start = algorithm.init({"w": torch.tensor([10.0])})
    ((_, state, metrics),) = run_rounds(algorithm, start, [[]], waits)
    assert state.meta["theta"]["w"] == 9.5
    assert metrics == {}


def test_what_is_not_sent_stays_without_noise():
    """As the head of FedBABU does, which no client trains."""
    frozen = sending(sgd(1.0))._replace(sent=lambda meta: {"theta": {"a": None}})
    options = {"clip": 1.0, "noise_multiplier": 2.0, "cohort": 4}
    algorithm = private(frozen, **options, noise=lambda _: ONES)
    state = ServerState(meta_of(a=[5.0], b=[5.0]), {}, 0)
    mean = algorithm.aggregate(state, iter([(1.0, meta_of(a=[1.0], b=[0.0]))]))
    assert_trees_equal(mean, meta_of(a=[0.75], b=[0.0]))


def test_noise_has_the_variance_that_is_accounted_for():
    meta = meta_of(a=[0.0] * 200_000, b=[[0.0] * 100] * 2000)
    mean = private_mean([], meta, drawn, clip=3.0)  # 2 * 3 / 4
    for leaf in mean["theta"].values():
        assert float(leaf.std()) == pytest.approx(1.5, rel=0.01)
        assert float(leaf.mean()) == pytest.approx(0, abs=0.02)
    flat = [leaf.flatten() for leaf in mean["theta"].values()]
    flat.append(private_mean([], meta, drawn, clip=3.0, number=2)["theta"]["a"])
    # Independent from leaf to leaf and round to round.
    between = np.corrcoef(torch.stack(flat).numpy())[np.triu_indices(3, 1)]
    assert np.abs(between).max() < 0.01


def test_the_order_of_tensors_changes_no_bit():
    """A checkpoint sorts them: a resumed run has another order than an unbroken one."""
    parts = {
        n: torch.randn(50, generator=torch.Generator().manual_seed(i))
        for i, n in enumerate("cab")
    }
    orders = [dict(order) for order in (parts.items(), sorted(parts.items()))]
    assert list(orders[0]) != list(orders[1])
    one, other = (
        private_mean([(1.0, {"theta": parts})], {"theta": parts}, drawn)
        for parts in orders
    )
    assert_trees_equal(
        {n: one["theta"][n] for n in "abc"}, {n: other["theta"][n] for n in "abc"}
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_clipped_away(value):
    algorithm = private(
        sending(sgd(1.0)), clip=1.0, noise_multiplier=1.0, cohort=1, noise=drawn
    )

    def for_each(meta, cohort, number):
        for client in cohort:
            yield (
                client,
                algorithm.client_update(meta, client)._replace(
                    update=meta_of(w=[value])
                ),
            )

    start = algorithm.init({"w": torch.tensor([10.0])})
    with pytest.raises(Diverged, match="client ann: its update"):
        next(run_rounds(algorithm, start, [["ann"]], for_each))


def test_noise_to_signal():
    assert noise_to_signal(10_000, 1.5, 30) == 5  # 1.5 * 100 / 30
