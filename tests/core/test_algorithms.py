"""The conformance suite: every algorithm of the table through the same contracts.

To add an algorithm here: its settings, as lines of `SETTINGS`.
"""

import copy
import math
from inspect import signature
from itertools import product
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from toys import (
    DEVICES,
    SIZES,
    assert_trees_close,
    assert_trees_equal,
    cast,
    flat,
    normal,
    quadratic_batch,
    quadratic_loss,
    scalar_batch,
    scalar_loss,
    tanh_net,
    task_of,
    tasks,
)

from fedmeta.core.algorithms import ALGORITHMS, FineTuning, LocalSteps
from fedmeta.core.algorithms.common import check_part, within, without
from fedmeta.core.backends import pad_task, sequential, threaded, vectorized
from fedmeta.core.cost import traffic
from fedmeta.core.engine import run_rounds
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.core.inner import FIRST_ORDER, Hessians, Plan
from fedmeta.core.model import ForwardFlops, classifier, own_model
from fedmeta.core.optimizers import OPTIMIZERS, adam, momentum, sgd
from fedmeta.core.trees import tree_map
from fedmeta.core.types import Batch, Task, Work

ADAM, SGD = {"local": adam(0.05)}, {"local": sgd(0.1)}
LOCAL = LocalSteps(adam(0.05), support_size=2, query_size=3)
MAML_LIKE = {
    "one_step": {"server": adam(0.05)},
    "three_steps": {"server": sgd(0.2), "plan": Plan(3), "weights": "num_query"},
    "minibatches": {"server": adam(0.05), "plan": Plan(2, 2)},
    "local": {"server": sgd(1.0), "local": LOCAL, "weights": "num_examples"},
    "decaying": {
        "server": adam(0.05, half_life=1),
        "local": LOCAL._replace(optimizer=sgd(0.1, half_life=0.5)),
    },
    "local_minibatches": {
        "server": adam(0.05),
        "plan": Plan(2, 1),
        "local": LocalSteps(sgd(0.1), support_size=3, query_size=2),
    },
}
PER_FEDAVG = {
    "inner_lr": 0.2,
    "local": sgd(0.2),
    "local_steps": 2,
    "batch_size": 4,
}
META_SGD = {name: {"alpha_init": 0.3, **s} for name, s in MAML_LIKE.items()}
HEAD = {"head": ("w2",), "fine_tuning": FineTuning(sgd(0.1), 3, None, ("w2",))}
SETTINGS = {
    "fedavg": {
        "adam": {**ADAM, "batch_size": 3, "weights": "num_examples"},
        "sgd": {**SGD, "batch_size": None, "epochs": 2, "weights": "num_query"},
        "server_adam": {**SGD, "batch_size": 2, "server": adam(0.05)},
        "decaying": {"local": adam(0.05, half_life=1), "server": sgd(1.0, half_life=2)},
    },
    "fedavg_meta": {
        "adam": {**ADAM, "fine_tuning": FineTuning(adam(0.05), 2, 2)},
        "sgd": {**SGD, "fine_tuning": FineTuning(sgd(0.1), 3, None)},
        "head": {**SGD, "fine_tuning": FineTuning(sgd(0.1), 3, None, ("w2",))},
    },
    "maml": {name: {"inner_lr": 0.3, **s} for name, s in MAML_LIKE.items()},
    "fomaml": {name: {"inner_lr": 0.3, **s} for name, s in MAML_LIKE.items()},
    "meta_sgd": {
        **META_SGD,
        "drawn": {**META_SGD["one_step"], "alpha_init": (0.1, 0.5)},
        "bounded": {**META_SGD["three_steps"], "alpha_range": (0.0, 0.31)},
        "first_order": {**META_SGD["one_step"], "first_order": True},
    },
    "anil": {
        "one_step": {"head": ("w2",), "inner_lr": 0.3, "server": adam(0.05)},
        "three_steps": {
            "head": ("w2", "b1"),
            "inner_lr": 0.3,
            "server": sgd(0.2),
            "plan": Plan(3),
            "weights": "num_query",
        },
    },
    "per_fedavg": {
        "exact": {**PER_FEDAVG, "hessians": Hessians()},
        "first_order": {**PER_FEDAVG, "hessians": FIRST_ORDER, "local": adam(0.05)},
        "hessian_free": {**PER_FEDAVG, "hessians": Hessians(difference=1e-2)},
        "reused": {**PER_FEDAVG, "batches": "reused", "weights": "num_examples"},
        "sets": {**PER_FEDAVG, "batches": "sets", "server": adam(0.05)},
    },
    "nu_step": {
        "exact": {**PER_FEDAVG, "steps": 3, "batches": "sets"},
        "truncated": {**PER_FEDAVG, "steps": 3, "hessians": Hessians(last=2)},
        "reused": {**PER_FEDAVG, "steps": 2, "batches": "reused"},
    },
    "reptile": {
        "sgd": {**SGD, "steps": 3, "batch_size": 4},
        "adam": {**ADAM, "steps": 2, "batch_size": None, "weights": "num_query"},
    },
    "fedprox": {"sgd": {**SGD, "batch_size": 3, "proximal": 0.5}},
    "fedavgm": {"sgd": {**SGD, "server": momentum(0.5, 0.5)}},
    "fedadagrad": {"sgd": {**SGD, "server": OPTIMIZERS["fedadagrad"](0.05)}},
    "fedadam": {"sgd": {**SGD, "server": OPTIMIZERS["fedadam"](0.05)}},
    "fedyogi": {"sgd": {**SGD, "server": OPTIMIZERS["fedyogi"](0.05)}},
    "fedavgm_reptile": {"sgd": {**SGD, "steps": 2, "server": adam(0.05)}},
    "local": {
        "adam": {"fine_tuning": FineTuning(adam(0.05), 3, 2)},
        "head": {"fine_tuning": FineTuning(sgd(0.1), 3, None, ("w2",))},
    },
    "ditto": {
        "adam": {"fine_tuning": FineTuning(adam(0.05), 2, 2, None, 0.5)},
        "head": {"fine_tuning": FineTuning(sgd(0.1), 3, None, ("w2",), 0.5)},
    },
    "fedper": {
        "adam": {**ADAM, **HEAD, "batch_size": 3, "weights": "num_examples"},
        "server_adam": {**SGD, **HEAD, "epochs": 2, "server": adam(0.05)},
    },
    "fedrep": {
        "sgd": {**SGD, **HEAD, "head_epochs": 2, "batch_size": 3},
        "adam": {**ADAM, **HEAD, "head_epochs": 1, "batch_size": None},
    },
    "scaffold": {
        "shared": {"lr": 0.1, "population": 6, "batch_size": 3},
        "fine_tuned": {
            "lr": 0.1,
            "population": 3,
            "epochs": 2,
            "server": sgd(0.8),
            "fine_tuning": FineTuning(sgd(0.1), 2, 2),
        },
    },
    "knn_per": {
        "near": {"neighbours": 2, "share": 0.3},
        "all": {"neighbours": 50, "share": 0.9},
    },
    "fedbabu": {
        "head": {**SGD, "frozen": ("w2",), "fine_tuning": FineTuning(adam(0.05), 2, 2)},
        "server_adam": {
            **SGD,
            "frozen": ("w2", "b1"),
            "proximal": 0.5,
            "fine_tuning": FineTuning(sgd(0.1), 3, None, ("w2",)),
            "server": adam(0.05),
        },
    },
}
# whose clients use the shared model as it is
SHARED = {
    *("fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi"),
    "knn_per",  # which remembers records beside it
    "scaffold",
}
CLIENTS = list(SIZES)
MODEL = tanh_net()
BACKENDS = {
    "sequential": sequential,
    "threaded": threaded(2),
    "vectorized": vectorized(2),
}


class Case(NamedTuple):
    """One algorithm under one setting."""

    name: str
    options: dict

    def build(self, loss=MODEL.loss, **more):
        return ALGORITHMS[self.name].factory(loss, **{**self.options, **more})

    def start(self, dtype=torch.float64, model=MODEL):
        return self.build(model.loss).init(cast(model.init(1), dtype))


CASES = [
    pytest.param(Case(name, options), id=f"{name}-{setting}")
    for name, settings in SETTINGS.items()
    for setting, options in settings.items()
]
every_algorithm = pytest.mark.parametrize("case", CASES)
KEEPING = [one for one in CASES if one.values[0].build().client_state is not None]
whose_clients_keep = pytest.mark.parametrize("case", KEEPING)


def make_tasks(algorithm, dtype=torch.float64):
    """Tasks of clients in their first round."""
    make_task = tasks(dtype, algorithm.passes)
    if algorithm.client_state is None:
        return make_task
    start = algorithm.init(cast(MODEL.init(1), dtype))
    state = algorithm.client_state(start.meta)
    return lambda client, number: make_task(client, number)._replace(state=state)


def placed(tree, device):
    return tree_map(lambda x: None if x is None else x.to(device), tree)  # no mask


def outputs(algorithm, meta, backend=sequential, dtype=torch.float64, device="cpu"):
    """(update, weight, metrics) of every client, by client."""
    make_task = make_tasks(algorithm, dtype)
    for_each = backend(
        algorithm.client_update, lambda *of: placed(make_task(*of), device)
    )
    found = for_each(placed(meta, device), CLIENTS, 1)
    return {client: placed(o._asdict(), "cpu") for client, o in found}


def rows(
    algorithm, meta, backend=sequential, dtype=torch.float64, chunk=None, device="cpu"
):
    def make_task(*of):
        return placed(make_tasks(algorithm, dtype)(*of), device)

    meta = placed(meta, device)
    return pd.DataFrame(
        evaluate_clients(algorithm, MODEL, meta, CLIENTS, make_task, backend, chunk)
    )


def query_loss(table):
    return table["loss_sum_after"].sum() / table["num_query"].sum()


def test_the_suite_knows_every_algorithm():
    assert SETTINGS.keys() == ALGORITHMS.keys()


@every_algorithm
def test_shapes(case):
    algorithm, theta = case.build(), MODEL.init(1)
    state = algorithm.init(theta)
    assert state.round == 0
    assert_trees_equal(state.meta["theta"], theta)
    for output in outputs(algorithm, state.meta).values():
        # the update is shaped like the broadcast
        assert_trees_close(output["update"], state.meta, rtol=0, atol=float("inf"))
        assert output["weight"].shape == ()
        assert output["weight"] > 0
        assert all(value.shape == (2,) for value in output["metrics"].values())
    after = algorithm.server_update(
        state, outputs(algorithm, state.meta)["ann"]["update"]
    )
    assert after.round == 1
    assert_trees_close(after.meta, state.meta, rtol=0, atol=float("inf"))


TOLERANCES = [
    pytest.param(torch.float64, {"rtol": 1e-9, "atol": 1e-12}, id="float64"),
    pytest.param(torch.float32, {"rtol": 1e-3, "atol": 1e-4}, id="float32"),
]


@every_algorithm
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize(
    ("device", "backend"),
    [pair for pair in product(DEVICES, BACKENDS) if pair != ("cpu", "sequential")],
)
def test_backends_agree(case, dtype, tolerance, device, backend):
    algorithm, meta = case.build(), case.start(dtype).meta
    one_by_one = outputs(algorithm, meta, sequential, dtype)
    other = outputs(algorithm, meta, BACKENDS[backend], dtype, device)
    assert list(other) == CLIENTS  # in the order of the cohort
    for client in CLIENTS:
        for part in ("update", "metrics", "weight", "state"):
            ours = {part: other[client][part]}
            wanted = {part: one_by_one[client][part]}
            assert_trees_close(ours, wanted, check_dtype=False, **tolerance)
    ours = rows(algorithm, meta, BACKENDS[backend], dtype, device=device)
    wanted = rows(algorithm, meta, sequential, dtype)
    pd.testing.assert_frame_equal(ours, wanted, check_dtype=False, **tolerance)


@every_algorithm
@pytest.mark.parametrize(("support", "query"), [(7, 9), (12, 20)])
def test_padding_changes_nothing(case, support, query):
    algorithm, meta = case.build(), case.start().meta
    make_task = make_tasks(algorithm)
    for client in CLIENTS:
        task = make_task(client, 1)
        padded = pad_task(task, support, query)
        assert len(padded.support.y), len(padded.query.y) == (support, query)
        alone, together = (algorithm.client_update(meta, t) for t in (task, padded))
        assert_trees_close(together.update, alone.update, rtol=1e-9, atol=1e-12)
        assert_trees_close(together.metrics, alone.metrics, rtol=1e-9, atol=1e-12)
        assert_trees_close(together.state, alone.state, rtol=1e-9, atol=1e-12)
        assert together.weight == alone.weight
        alone, together = (algorithm.adapt(meta, t.support) for t in (task, padded))
        assert_trees_close(together, alone, rtol=1e-9, atol=1e-12)


@every_algorithm
@pytest.mark.parametrize("chunk", [1, 3])
def test_chunks_change_nothing(case, chunk):
    whole, chunked = case.build(), case.build(chunk=chunk)
    meta = case.start().meta
    alone, together = outputs(whole, meta), outputs(chunked, meta)
    for client in CLIENTS:
        for part in ("update", "state"):
            ours, wanted = together[client][part], alone[client][part]
            assert_trees_close(ours, wanted, rtol=1e-9, atol=1e-12)
    pd.testing.assert_frame_equal(
        rows(chunked, meta, chunk=chunk), rows(whole, meta), rtol=1e-9
    )


@every_algorithm
def test_the_same_task_gives_the_same_bits(case):
    meta = case.start(torch.float32).meta
    first, second = (outputs(case.build(), meta, dtype=torch.float32) for _ in "12")
    assert_trees_equal(first, second)


@every_algorithm
def test_nothing_given_is_changed(case):
    algorithm, state = case.build(), case.start()
    task = make_tasks(algorithm)("eve", 1)
    # A few rounds in, so that the moments of optimisers are not all zero.
    for _ in range(2):
        state = algorithm.server_update(
            state, algorithm.client_update(state.meta, task).update
        )
    before = copy.deepcopy((state, task))
    output = algorithm.client_update(state.meta, task)
    algorithm.adapt(state.meta, task.support)
    update = copy.deepcopy(output.update)
    algorithm.server_update(state, output.update)
    after = algorithm.server_update(state, output.update)
    assert_trees_equal(state.meta, before[0].meta)
    assert_trees_equal(state.opt_state, before[0].opt_state)
    assert_trees_equal(output.update, update)
    assert_trees_equal(task.state, before[1].state)
    for ours, wanted in zip(
        (*task.support, *task.query),
        (*before[1].support, *before[1].query),
        strict=True,
    ):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=0)
    # and what comes out is no view of what went in
    held = copy.deepcopy(after)
    for leaf in (*state.meta["theta"].values(), *output.update["theta"].values()):
        leaf.zero_()
    assert_trees_equal(after.meta, held.meta)


@every_algorithm
def test_who_adapts(case):
    meta = case.start().meta
    adapted = case.build().adapt(meta, task_of("eve", 1, torch.float64, 0).support)
    if case.name in SHARED and "fine_tuning" not in case.options:
        assert adapted is meta["theta"]
    else:
        assert (flat(adapted) - flat(meta["theta"])).norm() > 1e-3


@every_algorithm
def test_what_is_not_sent_never_changes(case):
    algorithm, state = case.build(), case.start()
    for output in outputs(algorithm, state.meta).values():
        after = algorithm.server_update(state, output["update"])
        # nor do noise and compression change it, which may be on all of an update
        noisy = tree_map(lambda leaf: leaf + 0.1, output["update"])
        under_noise = algorithm.server_update(state, noisy)
        for group, params in state.meta.items():
            sent = algorithm.sent(state.meta).get(group, {})
            for name in params.keys() - sent.keys():
                assert output["update"][group][name].count_nonzero() == 0
                for one in (after, under_noise):
                    assert torch.equal(one.meta[group][name], params[name])


@whose_clients_keep
def test_what_clients_begin_with_is_the_same_in_every_round(case):
    algorithm, state = case.build(), case.start()
    first = algorithm.client_state(state.meta)
    task = make_tasks(algorithm)("eve", 1)
    output = algorithm.client_update(state.meta, task)
    assert_trees_close(output.state, first, rtol=0, atol=float("inf"))
    assert any((output.state[n] != leaf).any() for n, leaf in first.items())
    after = algorithm.server_update(state, output.update)
    assert_trees_equal(algorithm.client_state(after.meta), first)


@whose_clients_keep
def test_what_a_client_has_kept_takes_part_in_its_next_round(case):
    algorithm, meta = case.build(), case.start().meta
    task = make_tasks(algorithm)("eve", 1)
    first = algorithm.client_update(meta, task)
    second = algorithm.client_update(meta, task._replace(state=first.state))
    assert (flat(first.update["theta"]) != flat(second.update["theta"])).any()
    assert (flat(first.state) != flat(second.state)).any()


@every_algorithm
def test_rounds_lower_the_query_loss(case):
    algorithm, state = case.build(), case.start()
    if not algorithm.sent(state.meta):
        pytest.skip("learns nothing in rounds")
    fixed = make_tasks(algorithm)  # the same records every round
    for_each = sequential(algorithm.client_update, lambda client, _: fixed(client, 0))
    losses = [query_loss(rows(algorithm, state.meta))]
    for _, now, _ in run_rounds(algorithm, state, [CLIENTS] * 5, for_each):
        losses.append(query_loss(rows(algorithm, now.meta)))
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0] - 0.02


# What distinguishes the members of the family


def one(value):
    return {"w": torch.tensor(value, dtype=torch.float64)}


def test_a_round_of_maml_by_hand():
    # As in test_inner: gradient .45; the server steps by .2 of it: 1 - .09 = .91
    algorithm = ALGORITHMS["maml"].factory(scalar_loss, inner_lr=0.1, server=sgd(0.2))
    task = Task(scalar_batch(0.0), scalar_batch(0.4), torch.zeros(0, 2))
    state = algorithm.init(one(1.0))
    output = algorithm.client_update(state.meta, task)
    assert output.metrics["loss"].tolist() == pytest.approx([0.125, 1])
    state = algorithm.server_update(state, output.update)
    assert state.meta["theta"]["w"] == pytest.approx(0.91)
    assert algorithm.adapt(state.meta, scalar_batch(0.0))["w"] == pytest.approx(0.819)


def test_evaluated_clients_may_take_other_steps_than_training_ones():
    # three steps of .1 towards 0: .9³; training takes one, as above
    plan = Plan(epochs=3)
    for name, rate in (("maml", "inner_lr"), ("meta_sgd", "alpha_init")):
        algorithm = ALGORITHMS[name].factory(
            scalar_loss, **{rate: 0.1}, adapt_plan=plan, server=sgd(0.2)
        )
        meta = algorithm.init(one(1.0)).meta
        assert algorithm.adapt(meta, scalar_batch(0.0))["w"] == pytest.approx(0.729)
        task = Task(scalar_batch(0.0), scalar_batch(0.4), torch.zeros(0, 2))
        output = algorithm.client_update(meta, task)
        assert output.update["theta"]["w"] == pytest.approx(0.45)


def test_a_round_of_meta_sgd_by_hand():
    # theta as above; alpha .1 + .2 * .5 = .2, kept under .15
    options = {"alpha_init": 0.1, "server": sgd(0.2), "alpha_range": (0.0, 0.15)}
    algorithm = ALGORITHMS["meta_sgd"].factory(scalar_loss, **options)
    task = Task(scalar_batch(0.0), scalar_batch(0.4), torch.zeros(0, 2))
    state = algorithm.init(one(1.0))
    output = algorithm.client_update(state.meta, task)
    assert output.update["alpha"]["w"] == pytest.approx(-0.5)
    state = algorithm.server_update(state, output.update)
    assert state.meta["theta"]["w"] == pytest.approx(0.91)
    assert state.meta["alpha"]["w"] == pytest.approx(0.15)


def test_a_round_of_fedavg_by_hand():
    # 1 -> .9 (target 0) -> .84 (target .3, slope .6): the model moves by .16
    algorithm = ALGORITHMS["fedavg"].factory(scalar_loss, local=sgd(0.1), batch_size=1)
    task = Task(scalar_batch(0.0), scalar_batch(0.3), torch.tensor([[0, 1]]))
    state = algorithm.init(one(1.0))
    output = algorithm.client_update(state.meta, task)
    assert output.update["theta"]["w"] == pytest.approx(0.16)
    state = algorithm.server_update(state, output.update)
    assert state.meta["theta"]["w"] == pytest.approx(0.84)
    # the other order: 1 -> .93 -> .837
    task = task._replace(orders=torch.tensor([[1, 0]]))
    output = algorithm.client_update(algorithm.init(one(1.0)).meta, task)
    assert output.update["theta"]["w"] == pytest.approx(0.163)


def two(a, b):
    values = {"body.w": a, "head.w": b}
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


def product_loss(params, batch):
    """Mean of (a b - target)² / 2: slopes (a b - target) b and (a b - target) a."""
    return scalar_loss({"w": params["body.w"] * params["head.w"]}, batch)


def test_a_round_of_fedbabu_by_hand():
    # body 1, head 2: 2 -> target 0, slope 2 * 2: body .6; 1.2 -> target .2, slope
    # 1 * 2: body .4. The body moves by .6; the server takes half of it: .7.
    algorithm = ALGORITHMS["fedbabu"].factory(
        product_loss,
        local=sgd(0.1),
        batch_size=1,
        frozen=("head",),
        fine_tuning=FineTuning(sgd(0.1), 1, 1, ("head",)),
        server=sgd(0.5),
    )
    task = Task(scalar_batch(0.0), scalar_batch(0.2), torch.tensor([[0, 1]]))
    state = algorithm.init(two(1.0, 2.0))
    output = algorithm.client_update(state.meta, task)
    assert output.update["theta"] == pytest.approx({"body.w": 0.6, "head.w": 0})
    state = algorithm.server_update(state, output.update)
    assert state.meta["theta"] == pytest.approx({"body.w": 0.7, "head.w": 2})
    assert algorithm.sent(state.meta)["theta"].keys() == {"body.w"}
    # the client's head: 1.4 -> target 0, slope 1.4 * .7: 2 - .098
    tuned = algorithm.adapt(state.meta, scalar_batch(0.0))
    assert tuned == pytest.approx({"body.w": 0.7, "head.w": 1.902})


@pytest.mark.parametrize(
    ("frozen", "told"),
    [
        (("w9",), r"frozen \['w9'\]: expected some of the model's layers.*w2"),
        (("w1", "b1", "w2"), "expected a layer to be left"),
    ],
)
def test_layers_that_cannot_be_frozen_are_refused(frozen, told):
    algorithm = ALGORITHMS["fedbabu"].factory(MODEL.loss, **SGD, frozen=frozen)
    with pytest.raises(ValueError, match=told):
        algorithm.init(MODEL.init(0))


def test_local_training_by_hand():
    # 1 -> .9 -> .81 towards the support's target 0, whatever others have learned
    algorithm = ALGORITHMS["local"].factory(
        scalar_loss, fine_tuning=FineTuning(sgd(0.1), 2)
    )
    meta = algorithm.init(one(1.0)).meta
    assert algorithm.adapt(meta, scalar_batch(0.0))["w"] == pytest.approx(0.81)
    assert algorithm.work(44, 176) == Work(0, 0, 0, 0)
    assert traffic(algorithm.sent(meta))[0] == 0


def identity_model():
    """Of one number, which is its own feature; both classes are as likely."""
    return classifier(
        dict,
        lambda params, x: x * 0 + torch.zeros(2, dtype=x.dtype),
        ForwardFlops(0, 0),
        features=lambda params, x: x,
    )


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def test_knn_per_by_hand():
    # Of 0, 1 and 10 the two nearest to 0 weigh 1 and 1 / e: class 0 has 1 / (1 + 1/e),
    # half of which and half of the model's 1/2 is .61553. Of class -1 nothing is known.
    algorithm = ALGORITHMS["knn_per"].factory(None, neighbours=2, share=0.5)
    support = Batch(column(0.0, 1.0, 10.0, 0.0), torch.tensor([0, 1, 1, -1]))
    own = own_model(algorithm, identity_model(), {}, support)
    chances = own.apply({}, column(0.0)).exp()[0]
    assert chances.tolist() == pytest.approx([0.6155293, 0.3844707])
    assert chances.sum() == pytest.approx(1)
    scores = own.score({}, Batch(column(0.0), torch.tensor([0])))
    assert scores["loss"].tolist() == pytest.approx([-math.log(0.6155293), 1])
    assert scores["accuracy"].tolist() == [1, 1]
    unknown = support._replace(y=torch.full((4,), -1))
    own = own_model(algorithm, identity_model(), {}, unknown)
    assert own.apply({}, column(0.0)).exp()[0].tolist() == pytest.approx([0.5, 0.5])


def test_knn_per_is_scored_by_all_that_the_model_is():
    """Also by a metric that was added to it."""

    def judge(logits, batch):
        return {"chance": torch.stack([logits.exp()[0, 0], torch.ones(())])}

    algorithm = ALGORITHMS["knn_per"].factory(None, neighbours=2, share=0.5)
    support = Batch(column(0.0, 1.0, 10.0), torch.tensor([0, 1, 1]))
    model = identity_model()._replace(judge=judge)
    own = own_model(algorithm, model, {}, support)
    scores = own.score({}, Batch(column(0.0), torch.tensor([0])))
    assert scores["chance"].tolist() == pytest.approx([0.6155293, 1])


def test_knn_per_without_a_share_is_the_shared_model():
    meta = {"theta": MODEL.init(1)}
    shared, alone = (
        rows(ALGORITHMS[name].factory(MODEL.loss, **options), meta)
        for name, options in (("fedavg", SGD), ("knn_per", {"share": 0.0}))
    )
    pd.testing.assert_frame_equal(alone, shared, rtol=1e-9)
    mixed = rows(ALGORITHMS["knn_per"].factory(None, share=0.5), meta)
    columns = ["loss_sum_before", "accuracy_sum_before"]
    pd.testing.assert_frame_equal(mixed[columns], shared[columns], check_exact=True)
    assert (mixed["loss_sum_after"] != shared["loss_sum_after"]).all()


def test_closed_form_of_fedavg_rounds():
    """K local steps on |theta - c|² / 2 end at c + (1 - lr)^K (theta - c)."""
    theta, c = normal(4, seed=1), normal(4, seed=2)
    batch = quadratic_batch(torch.eye(4, dtype=torch.float64), c)
    algorithm = ALGORITHMS["fedavg"].factory(
        quadratic_loss, local=sgd(0.1), epochs=3, batch_size=1
    )
    task = Task(batch, batch, torch.tensor([[0, 1]] * 3))
    update = algorithm.client_update({"theta": {"w": theta}}, task).update
    wanted = theta - (c + 0.9**6 * (theta - c))
    torch.testing.assert_close(update["theta"]["w"], wanted)


def test_one_local_step_is_a_step_of_the_server():
    """Meta-steps on the client with one pair of batches: Algorithm 1 with SGD."""
    task = task_of("eve", 1, torch.float64, 0)
    local = LocalSteps(sgd(0.2), support_size=100, query_size=100)
    for name, first in (("maml", {"inner_lr": 0.3}), ("meta_sgd", {"alpha_init": 0.3})):
        sends_gradient = ALGORITHMS[name].factory(MODEL.loss, **first, server=sgd(0.2))
        sends_model = ALGORITHMS[name].factory(
            MODEL.loss, **first, server=sgd(1.0), local=local
        )
        state = sends_gradient.init(MODEL.init(1))
        one_way, other_way = (
            a.server_update(state, a.client_update(state.meta, task).update)
            for a in (sends_gradient, sends_model)
        )
        assert_trees_close(one_way.meta, other_way.meta, rtol=1e-12, atol=1e-14)


def test_local_steps_pair_batches_until_one_set_ends():
    task = task_of("eve", 1, torch.float64, 0)  # 7 support and 9 query records
    pairs = LocalSteps(sgd(1.0), support_size=3, query_size=2).pairs(task)
    sizes = [(len(s.y), len(q.y)) for s, q in pairs]
    assert sizes == [(3, 2), (3, 2), (1, 2)]


def test_fedavg_meta_trains_as_fedavg():
    options = {"local": adam(0.05), "batch_size": 3}
    plain = ALGORITHMS["fedavg"].factory(MODEL.loss, **options)
    tuned = ALGORITHMS["fedavg_meta"].factory(
        MODEL.loss, **options, fine_tuning=FineTuning(sgd(0.1))
    )
    meta = plain.init(MODEL.init(1)).meta
    assert_trees_equal(outputs(plain, meta), outputs(tuned, meta))


def test_step_sizes_are_drawn_within_their_range():
    factory = ALGORITHMS["meta_sgd"].factory
    algorithm = factory(MODEL.loss, alpha_init=(0.1, 0.5), server=sgd(1.0))
    alpha = flat(algorithm.init(MODEL.init(1)).meta["alpha"])
    assert 0.1 <= alpha.min() < 0.2
    assert 0.4 < alpha.max() <= 0.5
    again = flat(algorithm.init(MODEL.init(2)).meta["alpha"])
    torch.testing.assert_close(alpha, again, rtol=0, atol=0)


@pytest.mark.parametrize("case", [c for c in CASES if "fine_tuning" in c.values[0][1]])
def test_a_head_that_is_not_there_is_refused(case):
    """Also where a training without this option is adapted, whose `init` saw none."""
    support = task_of("eve", 1, torch.float32, 0).support
    meta = case.build().init(MODEL.init(1)).meta
    for head in (("w9",), ("w2", "w9")):
        tuning = case.options["fine_tuning"]._replace(head=head)
        algorithm = case.build(fine_tuning=tuning)
        for act in (lambda a: a.init(MODEL.init(1)), lambda a: a.adapt(meta, support)):
            with pytest.raises(
                ValueError, match="'w9'.*: expected some of the model's"
            ):
                act(algorithm)


@pytest.mark.parametrize("frozen", [("body",), ("body.a",), ("body.a", "head")])
def test_a_layer_has_the_parameters_of_the_layers_in_it(frozen):
    names = ["body.a.w", "body.a.norm.g", "body.b.w", "bodyguard.w", "head.w"]
    params = {name: torch.ones(()) for name in names}
    in_it = [n for n in names if any(n.startswith(f"{layer}.") for layer in frozen)]
    assert [*within(frozen, params)] == in_it
    assert [*without(frozen, params)] == [n for n in names if n not in in_it]
    check_part(frozen, params, "frozen")


def by_hand(name, **options):
    """The output of a client with one record, target 0, and a head of its own, 3."""
    algorithm = ALGORITHMS[name].factory(
        product_loss,
        local=sgd(0.1),
        head=("head",),
        fine_tuning=FineTuning(sgd(0.1), 1, 1, ("head",)),
        **options,
    )
    state = algorithm.init(two(1.0, 2.0))
    assert algorithm.sent(state.meta)["theta"].keys() == {"body.w"}
    assert algorithm.client_state(state.meta) == {"head.w": 2.0}
    # of a client never seen: body 1 and the initial head: 2 - .1 * 2
    adapted = algorithm.adapt(state.meta, scalar_batch(0.0))
    assert adapted == pytest.approx({"body.w": 1.0, "head.w": 1.8})
    record, orders = scalar_batch(0.0), torch.tensor([[0]] * algorithm.passes)
    nothing = Batch(record.x[:0], record.y[:0])
    own = {"head.w": torch.tensor(3.0, dtype=torch.float64)}
    task = Task(record, nothing, orders, state=own)
    output = algorithm.client_update(state.meta, task)
    after = algorithm.server_update(state, output.update).meta["theta"]
    return output, after


def test_a_round_of_fedper_by_hand():
    # product 3; slopes 3 * 3 of the body and 3 * 1 of the head, which move together
    output, after = by_hand("fedper", server=sgd(0.5))
    assert output.update["theta"] == pytest.approx({"body.w": 0.9, "head.w": 0})
    assert output.state == pytest.approx({"head.w": 2.7})
    assert after == pytest.approx({"body.w": 0.55, "head.w": 2.0})


def test_a_round_of_fedrep_by_hand():
    # the head first: 3 - .1 * 3; the body under it: product 2.7, slope 2.7 * 2.7
    output, after = by_hand("fedrep", head_epochs=1)
    assert output.state == pytest.approx({"head.w": 2.7})
    assert output.update["theta"] == pytest.approx({"body.w": 0.729, "head.w": 0})
    assert after == pytest.approx({"body.w": 0.271, "head.w": 2.0})


def test_a_round_of_scaffold_by_hand():
    # c - c_i = .3: 1 -> 1 - .1 * 1.3 = .87 -> .87 - .1 * (.57 + .3) = .783
    # c_i' = .2 - .5 + .217 / .2 = .785; a tenth of the clients: c = .5 + .1 * .585
    algorithm = ALGORITHMS["scaffold"].factory(
        scalar_loss, lr=0.1, population=10, batch_size=1
    )
    state = algorithm.init(one(1.0))
    assert state.meta["control"] == one(0.0)
    state = state._replace(meta={"theta": one(1.0), "control": one(0.5)})
    orders = torch.tensor([[0, 1]])
    task = Task(scalar_batch(0.0), scalar_batch(0.3), orders, state=one(0.2))
    output = algorithm.client_update(state.meta, task)
    assert output.update["theta"]["w"] == pytest.approx(0.217)
    assert output.state["w"] == pytest.approx(0.785)
    mean = algorithm.aggregate(state, iter([(output.weight, output.update)]))
    after = algorithm.server_update(state, mean)
    assert after.meta["theta"]["w"] == pytest.approx(0.783)
    assert after.meta["control"]["w"] == pytest.approx(0.5585)
    assert after.round == 1


@pytest.mark.parametrize("lost", [0, 1])
def test_the_control_of_scaffold_is_the_mean_of_its_clients(lost):
    """Whoever of a round's three does not come back: nodes of a federation, or clients
    whose update is not finite."""
    algorithm = ALGORITHMS["scaffold"].factory(
        MODEL.loss, lr=0.1, population=5, batch_size=3
    )
    start = algorithm.init(MODEL.init(0))
    kept = dict.fromkeys(SIZES, algorithm.client_state(start.meta))
    make_task = tasks(passes=1)
    for_each = sequential(
        algorithm.client_update,
        lambda client, number: make_task(client, number)._replace(state=kept[client]),
    )

    def losing(meta, cohort, number):
        yield from for_each(meta, cohort[lost:], number)

    def keep(client, number, state):
        kept[client] = state

    ids = list(SIZES)
    cohorts = [ids[:3], ids[2:], ids[1:4], ids[2:]]
    *_, (_, state, _) = run_rounds(algorithm, start, cohorts, losing, keep=keep)
    mean = tree_map(lambda *own: sum(own) / len(own), *kept.values())
    assert_trees_close(state.meta["control"], mean)
    assert state.meta["control"]["w1"].abs().max() > 0.01


def test_fine_tuning_of_ditto_by_hand():
    # Towards 0 by .1: 1 -> .9; then the slope .9 + 2 (.9 - 1) = .7 -> .83
    algorithm = ALGORITHMS["ditto"].factory(
        scalar_loss, fine_tuning=FineTuning(sgd(0.1), 2, 1, None, 2.0)
    )
    adapted = algorithm.adapt({"theta": one(1.0)}, scalar_batch(0.0))
    assert adapted["w"] == pytest.approx(0.83)


@pytest.mark.parametrize(
    "name",
    [n for n, e in ALGORITHMS.items() if "weights" in signature(e.factory).parameters],
)
def test_unknown_weights_are_refused_at_once(name):
    options = next(iter(SETTINGS[name].values()))
    with pytest.raises(ValueError, match="unknown weights 'by_size'; one of uniform"):
        Case(name, {**options, "weights": "by_size"}).build()


# Does it pay? Clients name the same two groups of points differently.

GROUPS = tanh_net(hidden=24, features=6)


def named_differently(client: str, round_number: int, passes: int) -> Task:
    """Class by whether two features agree in sign; a client may swap the names."""
    number = int(client)
    generator = torch.Generator().manual_seed(1000 * number + round_number)
    x = torch.randn(40, 6, generator=generator)
    x[:, :2] += x[:, :2].sign()
    y = ((x[:, 0] * x[:, 1] > 0) ^ bool(number % 5 < 2)).long()
    orders = [torch.randperm(40, generator=generator) for _ in range(passes)]
    return Task(
        Batch(x[:10], y[:10]),
        Batch(x[10:], y[10:]),
        torch.stack(orders) if passes else torch.zeros(0, 40).long(),
    )


def accuracy_after_training(name, rounds=250, **options):
    """Accuracy on query records of clients never trained on, after adaptation."""
    algorithm = ALGORITHMS[name].factory(GROUPS.loss, **options)
    state = algorithm.init(cast(GROUPS.init(3), torch.float32))

    def make_task(client, number):
        return named_differently(client, number, algorithm.passes)

    for_each = vectorized(10)(algorithm.client_update, make_task)
    generator = torch.Generator().manual_seed(0)
    cohorts = (
        [str(i) for i in torch.randperm(200, generator=generator)[:10].tolist()]
        for _ in range(rounds)
    )
    for _, now, _ in run_rounds(algorithm, state, cohorts, for_each):
        state = now
    unseen = [str(i) for i in range(200, 300)]
    table = pd.DataFrame(
        evaluate_clients(
            algorithm, GROUPS, state.meta, unseen, make_task, vectorized(100)
        )
    )
    return table["accuracy_sum_after"].sum() / table["num_query"].sum()


def test_learning_to_adapt_beats_fine_tuning_beats_nothing():
    local = {"local": adam(0.01), "batch_size": 10}
    tuning = FineTuning(sgd(0.5), 1, None)  # one step, as FedMeta has
    fedavg = accuracy_after_training("fedavg", **local)
    tuned = accuracy_after_training("fedavg_meta", **local, fine_tuning=tuning)
    maml = accuracy_after_training("maml", inner_lr=0.5, server=adam(0.01))
    meta_sgd = accuracy_after_training("meta_sgd", alpha_init=0.5, server=adam(0.01))
    assert fedavg + 0.05 < tuned
    assert tuned + 0.05 < min(maml, meta_sgd)


def test_a_local_rate_that_decays_by_hand():
    # theta = 1, target 0: a step of rate r leads to 1 - r. A half-life of 2 rounds: the
    # rate of round 3 is half of that of round 1.
    algorithm = ALGORITHMS["fedavg"].factory(
        scalar_loss, local=sgd(0.2, half_life=2), batch_size=None
    )
    meta = {"theta": {"w": torch.tensor(1.0, dtype=torch.float64)}}
    record, order = scalar_batch(0.0), torch.tensor([[0, 1]])
    for number, moved in ((1, 0.2), (3, 0.1), (5, 0.05)):
        task = Task(record, record, order, torch.tensor(float(number)))
        update = algorithm.client_update(meta, task).update["theta"]["w"]
        assert update.item() == pytest.approx(moved)


def test_a_server_rate_that_decays_by_hand():
    algorithm = ALGORITHMS["maml"].factory(
        scalar_loss, inner_lr=0.1, server=sgd(0.2, half_life=1)
    )
    state = algorithm.init({"w": torch.tensor(1.0, dtype=torch.float64)})
    one = {"theta": {"w": torch.tensor(1.0, dtype=torch.float64)}}
    for expected in (0.8, 0.7, 0.65):
        state = algorithm.server_update(state, one)
        assert state.meta["theta"]["w"].item() == pytest.approx(expected)


def test_a_head_is_fine_tuned_alone():
    tuning = FineTuning(sgd(0.5), 1, None, ("w2",))
    algorithm = ALGORITHMS["fedavg_meta"].factory(MODEL.loss, **SGD, fine_tuning=tuning)
    theta = MODEL.init(0)
    support = tasks()("ann", 1).support
    adapted = algorithm.adapt({"theta": theta}, support)
    assert [n for n in theta if not torch.equal(theta[n], adapted[n])] == ["w2"]
    free = theta["w2"].clone().requires_grad_()
    slope = torch.autograd.grad(MODEL.loss({**theta, "w2": free}, support), free)[0]
    torch.testing.assert_close(adapted["w2"], theta["w2"] - 0.5 * slope)
    with pytest.raises(ValueError, match="head .'w9'.*w2"):
        ALGORITHMS["fedavg_meta"].factory(
            MODEL.loss, **SGD, fine_tuning=tuning._replace(head=("w9",))
        ).init(theta)
