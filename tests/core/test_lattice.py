"""Where algorithms must coincide, and where they must not (exact, or in float64)."""

import pytest
import torch
from toys import (
    assert_trees_close,
    assert_trees_equal,
    cast,
    finite_differences,
    flat,
    linear_loss,
    normal,
    quadratic_batch,
    quadratic_loss,
    scalar_batch,
    scalar_loss,
    tanh_net,
    task_of,
)

from fedmeta.core.algorithms import ALGORITHMS, FineTuning
from fedmeta.core.gradients import gradient_and_loss
from fedmeta.core.inner import FIRST_ORDER, Hessians, Plan, descend, meta_gradient
from fedmeta.core.optimizers import OPTIMIZERS, adam, momentum, sgd
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Batch, Task

MODEL = tanh_net()
THETA = cast(MODEL.init(1), torch.float64)
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def make(name, loss=MODEL.loss, **options):
    return ALGORITHMS[name].factory(loss, **options)


def rounds(algorithm, count=3, theta=THETA):
    """Meta-parameters after each of so many rounds of one client."""
    state, way = algorithm.init(theta), []
    for number in range(count):
        task = task_of("eve", number, torch.float64, algorithm.passes)
        output = algorithm.client_update(state.meta, task)
        state = algorithm.server_update(state, output.update)
        way.append(state.meta["theta"])
    return way


def one(value):
    return {"w": torch.tensor(value, dtype=torch.float64)}


# Per-FedAvg and nu steps

SETS = {"inner_lr": 0.3, "local": sgd(0.2), "batches": "sets"}


def test_one_meta_step_is_a_round_of_maml():
    per_fedavg = make("per_fedavg", **SETS)
    maml = make("maml", inner_lr=0.3, server=sgd(0.2))
    for a, b in zip(rounds(per_fedavg), rounds(maml), strict=True):
        assert_trees_close(a, b, **CLOSE)
    support = task_of("eve", 1, torch.float64, 0).support
    meta = {"theta": THETA}
    assert_trees_equal(per_fedavg.adapt(meta, support), maml.adapt(meta, support))


@pytest.mark.parametrize("steps", [2, 3])
def test_nu_steps_are_those_of_maml(steps):
    nu = make("nu_step", **SETS, steps=steps)
    maml = make("maml", inner_lr=0.3, plan=Plan(steps), server=sgd(0.2))
    for a, b in zip(rounds(nu), rounds(maml), strict=True):
        assert_trees_close(a, b, **CLOSE)


@pytest.mark.parametrize(
    "hessians", [Hessians(), FIRST_ORDER, Hessians(difference=1e-3)]
)
@pytest.mark.parametrize("batches", ["independent", "reused", "sets"])
def test_one_step_ahead_is_per_fedavg_bit_for_bit(batches, hessians):
    options = {
        "inner_lr": 0.3,
        "local": sgd(0.2),
        "local_steps": 4,
        "batch_size": 4,
        "batches": batches,
        "hessians": hessians,
    }
    ahead, per_fedavg = (
        make("nu_step", steps=1, **options),
        make("per_fedavg", **options),
    )
    assert ahead.passes == per_fedavg.passes
    for a, b in zip(rounds(ahead), rounds(per_fedavg), strict=True):
        assert_trees_equal(a, b)


@pytest.mark.parametrize("batches", ["independent", "reused"])
def test_drawing_all_records_draws_nothing(batches):
    """Batches of all records, in whatever order, are one and the same full batch."""
    options = {"inner_lr": 0.3, "local": sgd(0.2), "local_steps": 3}
    drawn = make("per_fedavg", **options, batches=batches, batch_size=None)
    task = task_of("eve", 1, torch.float64, drawn.passes)
    ours = drawn.client_update({"theta": THETA}, task).update["theta"]
    everything = Batch(
        *(
            torch.cat(pair)
            for pair in zip(*task[:2], strict=True)
            if pair[0] is not None
        )
    )
    alike = make("per_fedavg", **options, batches="sets")
    task = Task(everything, everything, task.orders[:0])
    wanted = alike.client_update({"theta": THETA}, task).update["theta"]
    assert_trees_close(ours, wanted, **CLOSE)


def test_a_round_of_per_fedavg_by_hand():
    # Two meta-steps of .5 on |theta - target|² / 2 with targets by record 0, .4, .8;
    # alpha .1; batches of one: D, D', D'' of each step are the first of its orders.
    task = Task(
        scalar_batch(0.0),
        scalar_batch(0.4, 0.8),
        torch.tensor(
            [[0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 2], [0, 2, 1], [0, 1, 2]]
        ),
    )
    per_fedavg = make(
        "per_fedavg",
        scalar_loss,
        inner_lr=0.1,
        local=sgd(0.5),
        local_steps=2,
        batch_size=1,
    )
    # 1 -> .9 towards 0; slope to .4: .5; times (1 - .1): .45; 1 - .5 * .45 = .775
    # .775 -> .7375 towards .4; slope to 0: .7375; times .9: .66375; .775 - .331875
    output = per_fedavg.client_update({"theta": one(1.0)}, task)
    assert output.update["theta"]["w"] == pytest.approx(1 - 0.443125)
    losses = [0.5**2 / 2, 0.7375**2 / 2]
    assert output.metrics["loss"].tolist() == pytest.approx([sum(losses), 2])
    first = make(
        "per_fedavg",
        scalar_loss,
        inner_lr=0.1,
        local=sgd(0.5),
        batch_size=1,
        hessians=FIRST_ORDER,
    )
    output = first.client_update(
        {"theta": one(1.0)}, task._replace(orders=task.orders[:3])
    )
    assert output.update["theta"]["w"] == pytest.approx(0.25)


def test_nu_steps_in_closed_form():
    """(I - alpha A)^nu B (w_nu - b) on quadratics."""
    theta, a, b = (normal(4, seed=s) for s in (1, 2, 3))
    big_a, big_b = (m @ m.T / 4 for m in (normal(4, 4, seed=4), normal(4, 4, seed=5)))
    task = Task(
        quadratic_batch(big_a, a), quadratic_batch(big_b, b), torch.zeros(0, 2).long()
    )
    alpha, steps = 0.1, 3
    decay = torch.linalg.matrix_power(torch.eye(4).double() - alpha * big_a, steps)
    adapted = a + decay @ (theta - a)
    wanted = decay @ big_b @ (adapted - b)
    nu = make(
        "nu_step",
        quadratic_loss,
        inner_lr=alpha,
        steps=steps,
        local=sgd(1.0),
        batches="sets",
    )
    update = nu.client_update({"theta": {"w": theta}}, task).update["theta"]["w"]
    torch.testing.assert_close(update, wanted)


def test_nu_steps_by_finite_differences():
    task = task_of("eve", 1, torch.float64, 0)
    nu = make("nu_step", **{**SETS, "local": sgd(1.0)}, steps=3)

    def adapted_loss(theta):
        adapted = descend(MODEL.loss, theta, [task.support] * 3, 0.3)
        return float(MODEL.loss(adapted, task.query))

    update = nu.client_update({"theta": THETA}, task).update["theta"]
    assert_trees_close(
        update, finite_differences(adapted_loss, THETA), rtol=0, atol=1e-7
    )


# MAML and its relatives


def test_constant_step_sizes_that_are_not_learned_make_meta_sgd_maml():
    maml = make("maml", inner_lr=0.3, server=sgd(0.2))
    frozen = make("meta_sgd", alpha_init=0.3, server=sgd(0.2), alpha_server=sgd(0.0))
    for a, b in zip(rounds(maml), rounds(frozen), strict=True):
        assert_trees_close(a, b, **CLOSE)


def test_without_curvature_maml_is_first_order():
    x = Batch(normal(5, 3, seed=1), torch.zeros(5).long())
    task = Task(x, Batch(2 * x.x, x.y), torch.zeros(0, 10).long())
    options = {"inner_lr": 0.3, "server": sgd(0.2)}
    theta = {"w": normal(3, seed=2)}
    exact, first = (
        make(name, linear_loss, **options).client_update({"theta": theta}, task).update
        for name in ("maml", "fomaml")
    )
    assert_trees_equal(exact, first)


def test_with_curvature_maml_is_not_first_order():
    """Fails where the gradient is cut between inner and outer step."""
    options = {"inner_lr": 0.3, "server": sgd(0.2)}
    task = task_of("eve", 1, torch.float64, 0)
    exact, first = (
        flat(
            make(name, **options).client_update({"theta": THETA}, task).update["theta"]
        )
        for name in ("maml", "fomaml")
    )
    assert (exact - first).norm() > 0.01 * exact.norm()


def test_anil_of_all_layers_is_maml():
    options = {"inner_lr": 0.3, "plan": Plan(2), "server": adam(0.1)}
    anil = make("anil", head=tuple(THETA), **options)
    for a, b in zip(rounds(anil), rounds(make("maml", **options)), strict=True):
        assert_trees_close(a, b, **CLOSE)


def test_anil_adapts_its_head_and_learns_all():
    anil = make("anil", head=("w2",), inner_lr=0.3, plan=Plan(2), server=sgd(1.0))
    meta = anil.init(THETA).meta
    task = task_of("eve", 1, torch.float64, 0)
    adapted = anil.adapt(meta, task.support)
    moved = {n for n, p in adapted.items() if not torch.equal(p, THETA[n])}
    assert moved == {"w2"}

    def adapted_loss(theta):
        for _ in range(2):
            slopes, _ = gradient_and_loss(MODEL.loss, theta, task.support)
            theta = {**theta, "w2": theta["w2"] - 0.3 * slopes["w2"]}
        return float(MODEL.loss(theta, task.query))

    update = anil.client_update(meta, task).update
    assert update.keys() == {"theta"}
    wanted = finite_differences(adapted_loss, THETA)
    assert_trees_close(update["theta"], wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("head", [(), ("w2", "classifier")])
def test_a_head_that_the_model_lacks_is_refused(head):
    anil = make("anil", head=head, inner_lr=0.3, server=sgd(1.0))
    with pytest.raises(ValueError, match="layers, which are b1, w1, w2"):
        anil.init(THETA)


# FedAvg and its relatives

LOCAL = {"local": sgd(0.1), "batch_size": 3}


@pytest.mark.parametrize("steps", [1, 4])
def test_reptile_is_fedavg_of_as_many_steps(steps):
    options = {"local": sgd(0.1), "batch_size": None}
    ours = rounds(make("reptile", **options, steps=steps))
    for a, b in zip(ours, rounds(make("fedavg", **options, epochs=steps)), strict=True):
        assert_trees_equal(a, b)
    some = rounds(make("reptile", **LOCAL, steps=steps))
    for a, b in zip(some, rounds(make("fedavg", **LOCAL, steps=steps)), strict=True):
        assert_trees_equal(a, b)


def test_fedavg_sums_gradients_of_fedsgd_and_fomaml():
    """theta - theta_K = eta (g_FedSGD + sum of g_FOMAML(j), j = 1 .. K - 1)."""
    reptile = make("reptile", **LOCAL, steps=4)
    task = task_of("eve", 1, torch.float64, reptile.passes)
    batches = [
        Batch(
            *(
                torch.cat([s, q])[order[:3]]
                for s, q in zip(task.support[:2], task.query[:2], strict=True)
            )
        )
        for order in task.orders
    ]
    total = gradient_and_loss(MODEL.loss, THETA, batches[0])[0]
    for number in range(1, 4):
        fomaml = meta_gradient(
            MODEL.loss,
            THETA,
            batches[:number],
            batches[number],
            0.1,
            hessians=FIRST_ORDER,
        )
        total = tree_map(torch.add, total, fomaml.theta)
    update = reptile.client_update({"theta": THETA}, task).update["theta"]
    assert_trees_close(update, tree_map(lambda g: 0.1 * g, total), **CLOSE)


def test_reptile_personalises_as_it_trains():
    reptile = make("reptile", **LOCAL, steps=2, adapt_epochs=3)
    meta_fedavg = make("fedavg_meta", **LOCAL, fine_tuning=FineTuning(sgd(0.1), 3, 3))
    support = task_of("eve", 1, torch.float64, 0).support
    meta = {"theta": THETA}
    assert_trees_equal(reptile.adapt(meta, support), meta_fedavg.adapt(meta, support))


def test_fedprox_of_no_strength_is_fedavg():
    zero, tiny, plain = (
        rounds(make(name, **LOCAL, epochs=2, **more))
        for name, more in (
            ("fedprox", {"proximal": 0.0}),
            ("fedprox", {"proximal": 1e-12}),
            ("fedavg", {}),
        )
    )
    for a, b, c in zip(zero, tiny, plain, strict=True):
        assert_trees_equal(a, c)
        assert_trees_close(b, c, rtol=1e-9, atol=1e-10)


def test_fedbabu_without_a_head_is_fedavg():
    fedavg, fedbabu = (
        make(name, local=adam(0.05), batch_size=3, server=momentum(0.5, 0.5), **more)
        for name, more in (("fedavg", {}), ("fedbabu", {"frozen": ()}))
    )
    for a, b in zip(rounds(fedavg), rounds(fedbabu), strict=True):
        assert_trees_equal(a, b)


def first_updates(*algorithms):
    """Updates of theta by a client's first round."""
    for algorithm in algorithms:
        meta = algorithm.init(THETA).meta
        task = task_of("eve", 0, torch.float64, algorithm.passes)
        if algorithm.client_state is not None:
            task = task._replace(state=algorithm.client_state(meta))
        yield algorithm.client_update(meta, task).update["theta"]


def test_the_first_round_of_scaffold_is_one_of_fedavg():
    fedavg = make("fedavg", local=sgd(0.1), batch_size=3)
    scaffold = make("scaffold", lr=0.1, population=6, batch_size=3)
    assert_trees_equal(*first_updates(fedavg, scaffold))


def test_the_body_of_a_first_round_of_fedper_is_that_of_fedavg():
    options = {"local": adam(0.05), "batch_size": 3}
    tuning = FineTuning(sgd(0.1))
    fedavg, fedper = first_updates(
        make("fedavg", **options),
        make("fedper", **options, head=("w2",), fine_tuning=tuning),
    )
    assert_trees_equal({**fedavg, "w2": torch.zeros_like(fedavg["w2"])}, fedper)


def test_ditto_that_is_not_drawn_is_fine_tuning():
    support = task_of("eve", 1, torch.float64, 0).support
    tuning = FineTuning(adam(0.05), 2, 3)
    tuned = make("fedavg_meta", local=sgd(0.1), fine_tuning=tuning)
    drawn = make("ditto", fine_tuning=tuning._replace(proximal=0.0))
    meta = {"theta": THETA}
    assert_trees_equal(tuned.adapt(meta, support), drawn.adapt(meta, support))


def test_a_round_of_fedprox_by_hand():
    # Towards 0 by .1: 1 -> .9 as FedAvg; then the slope .9 + 2 (.9 - 1) = .7 -> .83.
    # The loss that clients report is their own, without the proximal term.
    fedprox = make(
        "fedprox", scalar_loss, local=sgd(0.1), epochs=2, batch_size=1, proximal=2.0
    )
    task = Task(scalar_batch(0.0), scalar_batch(0.0), torch.tensor([[0], [0]]))
    output = fedprox.client_update({"theta": one(1.0)}, task)
    assert output.update["theta"]["w"] == pytest.approx(0.17)
    assert output.metrics["loss"].tolist() == pytest.approx([(1 + 0.81) / 2, 2])


def test_fedavgm_without_momentum_is_fedavg():
    plain = rounds(make("fedavg", **LOCAL))
    still = rounds(make("fedavgm", **LOCAL, server=momentum(1.0, 0.0)))
    for a, b in zip(still, plain, strict=True):
        assert_trees_equal(a, b)


# Reddi et al. 2021, algorithm 2, two rounds with updates .4 and -.2 by hand: eta .1,
# b1 .9, b2 .99, tau .1; v starts at tau² = .01. m: .04, then .036 - .02 = .016.
SQUARES = {
    "fedadagrad": (0.01 + 0.16, 0.17 + 0.04),
    "fedadam": (0.99 * 0.01 + 0.01 * 0.16, 0.99 * 0.0115 + 0.01 * 0.04),
    # sign(v - g²) is -1 both times
    "fedyogi": (0.01 + 0.01 * 0.16, 0.0116 + 0.01 * 0.04),
}


@pytest.mark.parametrize("name", SQUARES)
def test_adaptive_servers_by_hand(name):
    optimizer = OPTIMIZERS[name](0.1, tau=0.1)
    params, wanted = one(1.0), 1.0
    state = optimizer.init(params)
    means = (0.04, 0.016)
    for update, mean, square in zip((0.4, -0.2), means, SQUARES[name], strict=True):
        params, state = optimizer.update(one(update), state, params, None)
        wanted -= 0.1 * mean / (square**0.5 + 0.1)
        assert params["w"] == pytest.approx(wanted)


def test_yogi_forgets_by_subtraction():
    optimizer = OPTIMIZERS["fedyogi"](0.1, tau=1.0)
    _, state = optimizer.update(one(0.5), optimizer.init(one(1.0)), one(1.0), None)
    assert state["square"]["w"] == pytest.approx(1 - 0.01 * 0.25)
