"""Training together: against a loop of plain PyTorch over users, and its promises."""

import math
from zlib import crc32

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedmeta.models.tabular import tabular
from fedmeta.recommenders import minibatches, together
from fedmeta.recommenders.together import train_together

FEATURES, CLASSES = 7, 5
SIZES = {"ann": 40, "bob": 3, "cy": 1, "dee": 17, "eve": 18}
DIFFERENT = 4


@pytest.fixture(autouse=True)
def _few_different_batches(monkeypatch):
    monkeypatch.setattr(minibatches, "DIFFERENT", DIFFERENT)


def records(kind="multi-hot", sizes=SIZES, dtype=torch.float64):
    """Of random users; every fifth record is of no known class."""
    generator = torch.Generator().manual_seed(3)
    drawn = {}
    for client, size in sizes.items():
        x = torch.rand(size, FEATURES, generator=generator, dtype=torch.float64)
        x = {"multi-hot": x < 0.3, "real": 300 * (x - 0.5)}[kind].to(dtype)
        y = torch.randint(CLASSES, (size,), generator=generator)
        y[4::5] = -1
        drawn[client] = (x, y)
    return drawn


def train(users, hidden=None, **options):
    """{(user, steps): parameters}"""
    defaults = {"classes": CLASSES, "hidden": hidden, "steps": (0, 3, 20), "seed": 9}
    options = defaults | {"batch_size": 6, "learning_rate": 0.1} | options
    return {
        (client, steps): params
        for client, steps, params in train_together(users, **options)
    }


def plain_loop(client, x, y, hidden):
    """{steps: parameters} of one user by autograd and `torch.optim.Adam`."""
    x, y = x[y >= 0], y[y >= 0]
    rng = np.random.default_rng([9, crc32(client.encode())])
    model = tabular(FEATURES, CLASSES, hidden)
    params = model.init(int(rng.integers(2**63)))
    never = [c for c in range(CLASSES) if c not in y]
    params[f"layer{len(params) // 2}.weight"][never] = 0
    params = {name: p.double().requires_grad_() for name, p in params.items()}
    optimizer = torch.optim.Adam(params.values(), lr=0.1)
    size = min(6, math.ceil(len(y) / 2))
    passes = np.concatenate([rng.permutation(len(y)) for _ in range(99)])
    reports = {}
    for step in range(21):
        if step in (0, 3, 20):
            reports[step] = {name: p.detach().clone() for name, p in params.items()}
        first = step % DIFFERENT * size
        rows = torch.from_numpy(passes[first : first + size])
        optimizer.zero_grad()
        F.cross_entropy(model.apply(params, x[rows]), y[rows]).backward()
        optimizer.step()
    return reports


@pytest.mark.parametrize("kind", ["multi-hot", "real"])
@pytest.mark.parametrize("hidden", [None, 4])
def test_each_user_gets_what_a_loop_of_plain_pytorch_gives(hidden, kind):
    users = records(kind)
    ours = train(users, hidden, dtype=torch.float64)
    assert len(ours) == 3 * len(users)
    for client, (x, y) in users.items():
        for steps, expected in plain_loop(client, x, y, hidden).items():
            got = ours[client, steps]
            assert got.keys() == expected.keys()
            for name, p in got.items():
                torch.testing.assert_close(p, expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("hidden", [None, 4])
def test_company_decides_nothing(hidden):
    users = records()
    for key, params in train(users, hidden).items():
        alone = train({key[0]: users[key[0]]}, hidden)[key]
        torch.testing.assert_close(params, alone, rtol=1e-4, atol=1e-4)


def test_neither_do_workers(monkeypatch):
    monkeypatch.setattr(together, "GROUP_ROWS", 6)  # three groups
    one, two = (train(records(), 4, workers=workers) for workers in (1, 2))
    assert list(one) == list(two)
    assert all(torch.equal(one[k][n], two[k][n]) for k in one for n in one[k])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    train(records(), 4)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_records_of_no_known_class_teach_nothing():
    users = records()
    known = {client: (x[y >= 0], y[y >= 0]) for client, (x, y) in users.items()}
    assert torch.equal(
        train(users, 4)["dee", 20]["layer1.weight"],
        train(known, 4)["dee", 20]["layer1.weight"],
    )


@pytest.mark.parametrize("others", [["ann"], []])
def test_who_has_only_such_records_stays_at_the_start(others):
    users = {client: records()[client] for client in others}
    users["zoe"] = (torch.ones(2, FEATURES), torch.tensor([-1, -1]))
    got = train(users, 4)
    for name, p in got["zoe", 0].items():
        assert torch.equal(got["zoe", 20][name], p)
        assert p.isfinite().all()


def test_seed_and_user_decide_the_start():
    users = records(sizes={"ann": 5, "bob": 5})
    weight = {
        (client, seed): train(users, 4, seed=seed)[client, 0]["layer1.weight"]
        for client in users
        for seed in (0, 1)
    }
    assert not torch.equal(weight["ann", 0], weight["bob", 0])
    assert not torch.equal(weight["ann", 0], weight["ann", 1])


def test_none_and_nobody():
    start = train(records(), 4, steps=[0])
    assert start.keys() == {(client, 0) for client in SIZES}
    assert train({}, 4) == {}


def test_groups_hold_users_of_similar_batches(monkeypatch):
    monkeypatch.setattr(together, "GROUP_ROWS", 10)
    # The rows of a group are its users times the largest of their batches.
    sizes = {"a": 4, "b": 30, "c": 5, "d": 4, "e": 3, "f": 0, "g": 25}
    groups = list(together._groups(sizes, dict.fromkeys(sizes, 3)))
    assert groups == [["b"], ["g"], ["c", "a"], ["d"], ["e"], ["f"]]
    assert list(together._groups({}, {})) == []


def test_similar_users_are_grouped_by_their_numbers_of_outputs(monkeypatch):
    monkeypatch.setattr(together, "GROUP_ROWS", 1_000)
    sizes = {"a": 500, "b": 500, "c": 499, "d": 400, "e": 399}
    widths = {"a": 3, "b": 30, "c": 3, "d": 30, "e": 30}
    assert list(together._groups(sizes, widths)) == [["b", "d"], ["a", "c"], ["e"]]


def test_whoever_stops_listening_does_not_wait(monkeypatch):
    monkeypatch.setattr(together, "GROUP_ROWS", 1)  # a group for each
    taken, gradient_of = [], together.gradient_of

    def counting(*args):
        gradient = gradient_of(*args)
        return lambda *inputs: taken.append(1) or gradient(*inputs)

    monkeypatch.setattr(together, "gradient_of", counting)
    training = train_together(records(), classes=CLASSES, steps=[2_000])
    next(training)  # of the first group, while the second is at work
    training.close()
    assert 2_000 <= len(taken) < 4_000
