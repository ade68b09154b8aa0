"""Bytes by hand; operations counted two ways."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fedmeta.core.algorithms import ALGORITHMS, FineTuning
from fedmeta.core.algorithms.maml import LocalSteps
from fedmeta.core.cost import analytic_flops, counted_flops, traffic
from fedmeta.core.inner import Hessians, Plan
from fedmeta.core.optimizers import adam, sgd
from fedmeta.core.types import Batch, Task, Work
from fedmeta.models.cnn import femnist_cnn
from fedmeta.models.mlp import mlp

PARAMETERS = 6_603_710
LOCAL = {"local": sgd(0.1)}
OPTIONS = {
    "fedavg": {"local": adam(1e-4), "epochs": 2},
    "fedavg_meta": {"local": adam(1e-4)},
    "maml": {"inner_lr": 1e-3, "server": sgd(1.0), "plan": Plan(2)},
    "fomaml": {"inner_lr": 1e-3, "server": sgd(1.0), "plan": Plan(1, 10)},
    "meta_sgd": {"alpha_init": 1e-3, "server": sgd(1.0)},
    "anil": {"head": ("classifier",), "inner_lr": 1e-3, "server": sgd(1.0)},
    "per_fedavg": {"inner_lr": 1e-3, "local": sgd(0.1), "local_steps": 2},
    "nu_step": {
        "inner_lr": 1e-3,
        "local": sgd(0.1),
        "steps": 3,
        "batch_size": 20,
        "hessians": Hessians(last=2, difference=0.01),
    },
    "reptile": {"local": sgd(0.1), "steps": 3},
    **dict.fromkeys(("fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi"), LOCAL),
    "fedavgm_reptile": {"local": sgd(0.1), "steps": 2, "batch_size": None},
    "knn_per": {},
    "local": {"fine_tuning": FineTuning(sgd(0.1))},
    "fedbabu": {"local": sgd(0.1), "frozen": ("classifier",)},
    "ditto": {"fine_tuning": FineTuning(sgd(0.1))},
    "fedper": {**LOCAL, "head": ("classifier",), "fine_tuning": FineTuning(sgd(0.1))},
    "fedrep": {
        **LOCAL,
        "head": ("classifier",),
        "fine_tuning": FineTuning(sgd(0.1)),
        "head_epochs": 3,
    },
    "scaffold": {"lr": 0.1, "population": 10},
}


@pytest.fixture(scope="module")
def paper():
    """The paper's network and its initial weights."""
    model = femnist_cnn()
    return model, model.init(0)


def example(passes):
    """A client of two records; counting repeats the first."""
    rows = Batch(torch.rand(1, 784), torch.tensor([3]))
    return Task(rows, rows, torch.arange(2).expand(passes, -1))


def first_round(task, algorithm, meta):
    """The task, in the first round of its client."""
    keeps = algorithm.client_state
    return task if keeps is None else task._replace(state=keeps(meta))


def test_bytes_by_hand(paper):
    model, params = paper
    made = {n: e.factory(model.loss, **OPTIONS[n]) for n, e in ALGORITHMS.items()}
    sent = {n: traffic(a.sent(a.init(params).meta)) for n, a in made.items()}
    once, weight = 4 * PARAMETERS, 8
    assert once == 26_414_840  # 26.4 MB
    for name in ("fedavg", "fedavg_meta", "maml", "fomaml"):
        assert sent[name] == (once, once + weight)
    assert sent["meta_sgd"] == (2 * once, 2 * once + weight)
    head = 4 * (62 * 2048 + 62)
    for name in ("fedbabu", "fedper", "fedrep"):
        assert sent[name] == (once - head, once - head + weight)
    assert sent["scaffold"] == (2 * once, 2 * once + weight)
    # 105.7 MB each way of a round of four clients, 211 MB for Meta-SGD
    assert round(4 * sent["maml"][0] / 1e6, 1) == 105.7
    assert round(4 * sent["meta_sgd"][0] / 1e6) == 211


@pytest.mark.parametrize("name", ALGORITHMS)
def test_analytic_and_counted_operations_agree(paper, name):
    model, params = paper
    algorithm = ALGORITHMS[name].factory(model.loss, **OPTIONS[name])
    meta = algorithm.init(params).meta
    task = first_round(example(algorithm.passes), algorithm, meta)
    counted = counted_flops(algorithm, meta, task)
    for support, query in [(1, 1), (44, 176), (110, 110), (198, 22)]:
        analytic = analytic_flops(algorithm.work(support, query), model.flops)
        assert counted(support, query) == pytest.approx(analytic, rel=0.02)


def own_task(support, query, passes):
    """A client whose records are all different."""
    rows = Batch(torch.rand(support + query, 6), torch.arange(support + query) % 3)
    order = torch.arange(support + query).flip(0)
    first, second = (
        Batch(rows.x[part], rows.y[part])
        for part in (slice(support), slice(support, None))
    )
    return Task(first, second, order.expand(passes, -1))


CHUNKED = {
    **OPTIONS,
    "maml": {**OPTIONS["maml"], "plan": Plan(2, 5)},
    "meta_sgd": {
        **OPTIONS["meta_sgd"],
        "local": LocalSteps(adam(1e-4), support_size=5, query_size=3),
    },
    "per_fedavg": {**OPTIONS["per_fedavg"], "batches": "reused", "batch_size": 7},
}


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("chunk", [None, 3, 4, 8])
@pytest.mark.parametrize("options", [OPTIONS, CHUNKED], ids=["whole", "in batches"])
def test_what_is_counted_is_what_is_executed(name, chunk, options):
    """Chunks included, in which gradients are computed again for Hessian products."""
    model = mlp(features=6, classes=3, hidden=(5,))
    algorithm = ALGORITHMS[name].factory(model.loss, **options[name], chunk=chunk)
    meta = algorithm.init(model.init(0)).meta
    task = first_round(own_task(2, 2, algorithm.passes), algorithm, meta)
    counted = counted_flops(algorithm, meta, task)
    for support, query in [(12, 7), (9, 4), (3, 8)]:
        with FlopCounterMode(display=False) as counter:
            task = own_task(support, query, algorithm.passes)
            algorithm.client_update(meta, first_round(task, algorithm, meta))
        assert counted(support, query) == counter.get_total_flops()
        work = algorithm.work(support, query)
        # What is trained alone takes or spares the product of a head's weights, 3 by
        # 5, which is counted and not estimated: FedBABU and FedRep.
        alone = options[name].keys() & {"frozen", "head_epochs"}
        spared = 2 * 3 * 5 * ((work.gradients if alone else 0) - work.forward)
        total = counter.get_total_flops() + spared
        assert analytic_flops(work, model.flops) == total


def test_operations_of_a_round_by_hand():
    """A gradient is three forward passes, a Hessian product six: of the usual count,
    MAML is 9 F n_S + 3 F n_Q. The first layer has no input gradient: less."""
    first, rest = 1, 10
    work = ALGORITHMS["maml"].factory(None, inner_lr=1.0, server=sgd(1.0)).work(44, 176)
    assert work == Work(44, 176, 220, 44)
    flops = type(femnist_cnn().flops)(first + rest, first)
    bound = 9 * (first + rest) * 44 + 3 * (first + rest) * 176
    spared = 1 * first * 220 + 4 * first * 44
    assert analytic_flops(work, flops) == bound - spared
    assert ALGORITHMS["fomaml"].factory(None, inner_lr=1.0, server=sgd(1.0)).work(
        44, 176
    ) == Work(44, 176, 220, 0)


def test_local_steps_cost_what_their_pairs_do():
    """5 pairs of batches of 10 take 44 support and 50 query records, not 176."""
    local = LocalSteps(adam(1e-4), support_size=10, query_size=10)
    algorithm = ALGORITHMS["maml"].factory(
        None, inner_lr=1.0, server=sgd(1.0), local=local
    )
    assert algorithm.work(44, 176) == Work(44, 50, 94, 44)
