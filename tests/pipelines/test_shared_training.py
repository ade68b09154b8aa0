"""One training under several support fractions, where it does not depend on them."""

import pandas as pd
import pytest
from test_training import (
    PARTITION,
    TRAINING,
    _sorted,
    assert_same_bits,
    chunks,
    run,
)

from fedmeta.data.partition import partition_examples
from fedmeta.pipelines.training import nodes

SHORT = TRAINING.model_copy(update={"rounds": 4})
WATCHING = SHORT.model_copy(update={"support_fractions": (0.2, 0.4, 0.7)})


def under(fraction, data):
    """The data and the division of a run under a support fraction."""
    divided = partition_examples(data["clients"], fraction, PARTITION.seed)
    partition = PARTITION.model_copy(update={"support_fraction": fraction})
    return {**data, "support_query": divided}, partition


@pytest.mark.parametrize("name", ["fedavg", "per_fedavg", "reptile"])
def test_a_watched_fraction_need_not_train(name, data, tmp_path, monkeypatch):
    folders = {p: tmp_path / f"p{p}_seed0" for p in (0.2, 0.4)}
    alone = tmp_path / "alone" / "p0.2_seed0"
    for folder in (*folders.values(), alone):
        folder.mkdir(parents=True)
    other, partition = under(0.2, data)
    wanted = run(other, alone, name, SHORT, partition=partition)

    first = run(data, folders[0.4], name, WATCHING)
    assert set(first[0].history) >= {name, f"{name} p0.2", f"{name} p0.7"}

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(nodes, "run_rounds", never)
    (ours,) = chunks(other, folders[0.2], name, SHORT, partition=partition)
    assert ours[0].fingerprint == wanted[0].fingerprint
    assert_same_bits(_sorted(ours[0].state.meta), _sorted(wanted[0].state.meta))
    assert_same_bits(ours[0].state.opt_state, wanted[0].state.opt_state)
    assert ours[0].validation.keys() == wanted[0].validation.keys()
    for a, b in zip(ours[1:], wanted[1:], strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_what_was_not_watched_is_trained(data, tmp_path):
    for folder in ("p0.4_seed0", "p0.2_seed0"):
        (tmp_path / folder).mkdir()
    run(data, tmp_path / "p0.4_seed0", "fedavg", SHORT)
    other, partition = under(0.2, data)
    way = chunks(other, tmp_path / "p0.2_seed0", "fedavg", SHORT, partition=partition)
    assert next(way)[0].state.round == 0


def test_weights_may_depend_on_the_support_fraction(data, tmp_path):
    for folder in ("p0.4_seed0", "p0.2_seed0"):
        (tmp_path / folder).mkdir()
    weights = {"weights": "num_query"}
    run(data, tmp_path / "p0.4_seed0", "fedavg", WATCHING, **weights)
    other, partition = under(0.2, data)
    folder = tmp_path / "p0.2_seed0"
    way = chunks(other, folder, "fedavg", WATCHING, partition=partition, **weights)
    assert next(way)[0].state.round == 0


def test_meta_learning_depends_on_the_support_fraction(data, tmp_path):
    for folder in ("p0.4_seed0", "p0.2_seed0"):
        (tmp_path / folder).mkdir()
    first = run(data, tmp_path / "p0.4_seed0", "maml", WATCHING)
    assert set(first[0].history) == {"maml"}
    other, partition = under(0.2, data)
    way = chunks(other, tmp_path / "p0.2_seed0", "maml", WATCHING, partition=partition)
    assert next(way)[0].state.round == 0


def test_a_resumed_run_watches_what_it_has_watched(data, tmp_path):
    """A curve cannot begin in the middle."""
    for number, chunk in enumerate(chunks(data, tmp_path, "fedavg", SHORT)):
        if number == 1:  # after round 2
            break
    assert chunk[0].state.round == 2
    last = run(data, tmp_path, "fedavg", WATCHING)
    assert set(last[0].history) == {"fedavg", "fedavg_meta"}
    assert last[0].state.round == 4
