"""What is trained again after a change, what is not, and what is said of it."""

import logging

import pandas as pd
import pytest
from test_training import (
    BLOCKS,
    MODEL,
    PARTITION,
    TRAINING,
    chunks,
    files,
    run,
)

from fedmeta import identity
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.partition import partition_examples, split_clients
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.preparation.nodes import divide, encode, select, split
from fedmeta.pipelines.training import nodes

BENCHMARK = BENCHMARKS["femnist"]
INK = {"inverted": False}


@pytest.fixture
def finished(data, tmp_path):
    return run(data, tmp_path, "maml"), tmp_path


@pytest.fixture
def never(monkeypatch):
    """No round may be run."""

    def trained(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(nodes, "run_rounds", trained)


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate_every": 3},
        {"evaluation_clients": 1},
        {"chunk": 7},
        {"backend": "vectorized", "clients_at_once": 3},
        {"device": "auto"},
        {"support_fractions": (0.3,)},
    ],
)
def test_options_that_change_no_result_train_nothing_again(
    data, finished, never, changes
):
    (whole, history, _), folder = finished
    (again,) = chunks(data, folder, "maml", TRAINING.model_copy(update=changes))
    assert again[0].fingerprint == whole.fingerprint
    pd.testing.assert_frame_equal(again[1], history, check_exact=True)


def test_points_stay_and_others_come_at_the_new_spacing(data, finished):
    (_, before, _), folder = finished
    changes = {"rounds": 13, "evaluate_every": 5, "evaluation_clients": 1}
    _, after, kept = run(data, folder, "maml", TRAINING.model_copy(update=changes))
    assert after["round"].tolist() == [0, 2, 4, 6, 7, 10, 13]  # and the last, always
    pd.testing.assert_frame_equal(after[: len(before)], before, check_exact=True)
    watched = len(data["client_split"]["validation"])
    assert after["validation_clients"].tolist() == [watched] * 5 + [1] * 2
    assert kept.groupby("round").size().tolist() == [watched] * 5 + [1] * 2


@pytest.mark.parametrize("module", ["core.optimizers", "models.cnn", "data.tasks"])
def test_changed_code_is_trained_with(data, finished, monkeypatch, caplog, module):
    (whole, *_), folder = finished
    kept = files(folder)
    name = f"code.{module}"
    monkeypatch.setitem(identity.EQUIVALENT, whole.settings[name], "changed")
    caplog.set_level(logging.INFO, "fedmeta")
    first, *_, last = chunks(data, folder, "maml")
    assert first[0].state.round == 0
    assert last[0].settings[name] == "changed"
    path = f"{module.replace('.', '/')}.py"
    assert "maml: training from the start; the nearest checkpoint" in caplog.text
    assert f"is of a training with other code ({path})\n" in caplog.text
    del kept["maml.safetensors"]
    assert kept.items() <= files(folder).items()


def test_code_of_another_model_is_not(data, finished, never, monkeypatch):
    other = identity.code(BENCHMARKS["shakespeare"].model)
    monkeypatch.setitem(identity.EQUIVALENT, other["code.models.lstm"], "changed")
    _, folder = finished
    assert len(list(chunks(data, folder, "maml"))) == 1


def test_the_nearest_checkpoint_is_told(data, finished, caplog):
    _, folder = finished
    run(data, folder, "maml", TRAINING.model_copy(update={"seed": 1}), inner_lr=0.3)
    caplog.set_level(logging.INFO, "fedmeta")
    next(chunks(data, folder, "maml", inner_lr=0.2))
    assert "is of a training with maml.inner_lr=0.1 instead of 0.2\n" in caplog.text


def test_histories_say_what_they_were_made_with(data, finished):
    (whole, history, _), _ = finished
    settings = history.attrs["settings"]
    assert settings == {**whole.settings, "training.rounds": 7}
    assert settings["maml.inner_lr"] == BLOCKS["maml"]["inner_lr"]
    assert settings["model.hidden"] == MODEL["hidden"]
    assert settings["data.records"] == data["records"].checksum
    assert settings["code.core.optimizers"]
    assert not {f"training.{n}" for n in identity.NON_RESULT_OPTIONS} & settings.keys()
    assert history.attrs["environment"]["torch"]


def evaluated(data, checkpoint, training=TRAINING, **changes):
    return evaluate(
        BENCHMARK,
        ["maml"],
        "maml",
        Data(**data),
        checkpoint=checkpoint,
        training=training,
        model=MODEL,
        maml={**BLOCKS["maml"], **changes},
    )


def test_scores_say_what_they_were_made_with(data, finished):
    (whole, history, _), _ = finished
    scores = evaluated(data, whole)
    made, trained = scores.attrs["settings"], history.attrs["settings"]
    assert made.items() > trained.items()
    assert set(made) - set(trained) == {"code.pipelines.evaluation.nodes"}


@pytest.mark.parametrize(
    ("rounds", "changes", "told"),
    [
        (9, {}, "training.rounds=7 instead of 9"),
        (7, {"inner_lr": 0.5}, "maml.inner_lr=0.1 instead of 0.5"),
        (7, {"first_order": True}, "no maml.first_order"),
    ],
)
def test_a_checkpoint_of_another_training_is_not_judged(
    data, finished, rounds, changes, told
):
    (whole, *_), _ = finished
    training = TRAINING.model_copy(update={"rounds": rounds})
    with pytest.raises(ValueError, match=f"checkpoint of maml was trained with {told}"):
        evaluated(data, whole, training, **changes)


def test_nor_one_of_other_data_or_code(data, finished, monkeypatch):
    (whole, *_), _ = finished
    other = {**data, "support_query": partition_examples(data["clients"], 0.5, 0)}
    with pytest.raises(ValueError, match=r"with other data \(support_query\);"):
        evaluated(other, whole)
    name = "code.core.optimizers"
    monkeypatch.setitem(identity.EQUIVALENT, whole.settings[name], "changed")
    with pytest.raises(ValueError, match=r"with other code \(core/optimizers\.py\);"):
        evaluated(data, whole)


def prepared(data, min_records=1, seed=0):
    """Data as the nodes of preparation make them."""
    options = {"profile": "full", "min_records": min_records, "seed": 0}
    options |= {"sampling_fraction": 1.0, "drop_duplicates": False}
    clients = select(BENCHMARK, data["records"], options)
    partition = PARTITION.model_copy(update={"seed": seed})
    divided = split(clients, partition)
    return {
        "records": data["records"],
        "clients": clients,
        "client_split": divided,
        "support_query": divide(BENCHMARK, data["records"], clients, partition),
        "codebook": encode(BENCHMARK, data["records"], clients, divided, INK),
    }


def test_histories_say_what_their_data_were_made_with(data, tmp_path):
    made = run(prepared(data), tmp_path, "maml")[1].attrs["settings"]
    assert made["selection.min_records"] == 1
    assert made["partition.strategy"] == "random"
    assert made["partition.support_fraction"] == PARTITION.support_fraction


@pytest.mark.parametrize(
    ("stale", "told"),
    [
        ("client_split", r"client split was made with .*other data \(clients\)"),
        ("support_query", r"partition was made with .*other data \(clients\)"),
        ("codebook", r"codebook was made with .*other data \(clients, client_split\)"),
    ],
)
def test_data_that_were_made_from_others_are_refused(data, tmp_path, stale, told):
    mixed = {**prepared(data), stale: prepared(data, min_records=8)[stale]}
    with pytest.raises(ValueError, match=told):
        run(mixed, tmp_path, "maml")


def test_a_split_of_another_seed_is_refused(data, tmp_path):
    mixed = {**prepared(data), "client_split": prepared(data, seed=1)["client_split"]}
    with pytest.raises(ValueError, match=r"other data \(client_split\)"):
        run(mixed, tmp_path, "maml")


def test_another_split_is_another_training(data, tmp_path):
    ids = data["clients"]["client_id"].tolist()
    run(data, tmp_path, "maml")
    other = {**data, "client_split": split_clients(ids, [0.7, 0.15, 0.15], 1)}
    first, *_ = chunks(other, tmp_path, "maml")
    assert first[0].state.round == 0
