"""What clients keep between rounds: the newest of earlier rounds, on every backend."""

import pickle

import pytest
import torch

from fedmeta.core.algorithms.fedavg import FineTuning
from fedmeta.core.algorithms.fedper import fedper
from fedmeta.core.backends import sequential, threaded, vectorized
from fedmeta.core.engine import run_rounds
from fedmeta.core.gradients import masked_mean
from fedmeta.core.optimizers import sgd
from fedmeta.core.types import Batch, Diverged, Task
from fedmeta.data.errors import DataError
from fedmeta.data.ids import Ids
from fedmeta.data.states import ClientStates, LastRounds

NAMES = Ids(["ann", "bob", "cid", "dee"])
INITIAL = {"w": torch.zeros(2)}


def no_task(client, number):
    nothing = Batch(torch.zeros(0, 1), torch.zeros(0).long())
    return Task(nothing, nothing, torch.zeros(0, 0))


def state(value):
    return {"w": torch.full((2,), float(value))}


def test_a_task_reads_the_newest_of_earlier_rounds(tmp_path):
    states = ClientStates(tmp_path / "s", NAMES)
    make_task = states.given(no_task, INITIAL)
    assert make_task("bob", 5).state["w"].tolist() == [0, 0]
    states.keep("bob", 2, state(2))
    states.keep("bob", 5, state(5))
    read = {n: make_task("bob", n).state["w"][0].item() for n in (1, 2, 3, 5, 6)}
    assert read == {1: 0, 2: 0, 3: 2, 5: 2, 6: 5}  # a round done again reads the same
    assert make_task("ann", 6).state["w"].tolist() == [0, 0]
    assert states.rounds.tolist() == [[1, 5]]


def test_where_nodes_keep_states_a_task_has_the_first_one():
    """On it the operations of a client are counted."""
    last = LastRounds(NAMES)
    last.keep("bob", 2, state(2))
    assert last.given(no_task, INITIAL)("bob", 3).state == INITIAL
    assert last.of(["ann", "bob"]) == {"bob": 2}


def test_what_the_last_checkpoint_covers_is_kept_once(tmp_path):
    states = ClientStates(tmp_path / "s", NAMES)
    make_task = states.given(no_task, INITIAL)
    for number in (1, 2, 3):
        states.keep("bob", number, state(number))
    before = states.rounds
    states.settle(3)
    for number in (4, 6):
        states.keep("bob", number, state(number))
    assert len(list((tmp_path / "s" / "1").iterdir())) == 3  # of rounds 3, 4 and 6
    again = ClientStates(tmp_path / "s", NAMES)
    assert again.resume(before, 3)
    assert make_task("bob", 4).state["w"][0] == 3
    assert not again.resume(torch.tensor([[1, 2]]), 2)  # of an older checkpoint: gone
    assert not again.resume(torch.tensor([[2, 1]]), 2)
    again.clear()
    assert not again.resume(before, 3)
    assert again.resume(ClientStates(tmp_path, NAMES).rounds, 0)


def test_another_machine_is_told_that_it_needs_the_folder(tmp_path):
    """As a dask worker that has no such folder, or one of another training."""
    states = ClientStates(tmp_path / "s", NAMES)
    make_task = pickle.loads(pickle.dumps(states.given(no_task, INITIAL)))
    assert make_task("ann", 1).state["w"].tolist() == [0, 0]
    (tmp_path / "s" / "token").write_text("another")
    with pytest.raises(DataError, match="need it on a disk that all share"):
        make_task("ann", 1)
    (tmp_path / "s" / "token").unlink()
    with pytest.raises(DataError, match="s: not the folder of what clients keep"):
        make_task("ann", 1)


def test_a_damaged_state_is_named(tmp_path):
    states = ClientStates(tmp_path / "s", NAMES)
    make_task = states.given(no_task, INITIAL)
    states.keep("cid", 1, state(1))
    path = tmp_path / "s" / "2" / "1.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="1.safetensors: .*; move its folder away"):
        make_task("cid", 2)


def loss(params, batch):
    logits = torch.tanh(batch.x @ params["body.w"]) @ params["head.w"]
    values = torch.nn.functional.cross_entropy(logits, batch.y, reduction="none")
    return masked_mean(values, batch.mask)


def records(client, number):
    drawn = torch.Generator().manual_seed(10 * NAMES.row(client) + number)
    x = torch.randn(6, 3, generator=drawn).double()
    y = torch.randint(3, (6,), generator=drawn)
    orders = torch.stack([torch.randperm(6, generator=drawn) for _ in range(2)])
    return Task(Batch(x[:2], y[:2]), Batch(x[2:], y[2:]), orders)


def rounds(folder, backend, poisoned=None, skip=False):
    """Meta-parameters after five rounds in which clients take part time and again."""
    algorithm = fedper(
        loss,
        head=("head",),
        head_epochs=1,
        local=sgd(0.1),
        fine_tuning=FineTuning(sgd(0.1)),
    )
    drawn = torch.Generator().manual_seed(0)
    theta = {
        n: torch.randn(3, 3, generator=drawn).double() for n in ("body.w", "head.w")
    }
    start = algorithm.init(theta)
    states = ClientStates(folder, NAMES)
    make_task = states.given(records, algorithm.client_state(start.meta))
    for_each = backend(algorithm.client_update, make_task)

    def watched(meta, cohort, number):
        for client, output in for_each(meta, cohort, number):
            bad = {"head.w": output.state["head.w"] * torch.nan}
            hit = (client, number) == poisoned
            yield client, output._replace(state=bad) if hit else output

    cohorts = [NAMES[:3], ["bob", "dee"], ["ann", "bob"], ["dee"], list(NAMES)]
    *_, (_, last, _) = run_rounds(algorithm, start, cohorts, watched, skip, states.keep)
    return last.meta["theta"], make_task


@pytest.mark.parametrize("backend", [threaded(2), vectorized(3)])
def test_backends_agree_over_rounds(tmp_path, backend):
    wanted, its = rounds(tmp_path / "a", sequential)
    found, ours = rounds(tmp_path / "b", backend)
    for name, leaf in wanted.items():
        torch.testing.assert_close(found[name], leaf, rtol=1e-9, atol=1e-12)
    for client in NAMES:
        torch.testing.assert_close(
            ours(client, 9).state, its(client, 9).state, rtol=1e-9, atol=1e-12
        )


def test_a_state_that_is_not_finite_is_never_kept(tmp_path):
    with pytest.raises(Diverged, match="round 3: client bob: its state is not finite"):
        rounds(tmp_path / "a", sequential, ("bob", 3))
    assert not (tmp_path / "a" / "1" / "3.safetensors").exists()
    theta, make_task = rounds(tmp_path / "b", sequential, ("bob", 3), skip=True)
    assert theta["body.w"].isfinite().all()
    assert not (tmp_path / "b" / "1" / "3.safetensors").exists()
    assert make_task("bob", 9).state["head.w"].isfinite().all()
