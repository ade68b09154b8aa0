"""A training that diverges stops and says so; nothing of it looks like a score."""

import logging
import math

import numpy as np
import pandas as pd
import pytest

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.checkpoints import read_checkpoint
from fedmeta.core.algorithms import blocks_of
from fedmeta.core.trees import is_finite
from fedmeta.core.types import Divergence
from fedmeta.datasets import CheckpointDataset, EarlierCheckpointsDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.divergence import remedy
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.graph import trained_with
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.studies.nodes import personalise
from fedmeta.pipelines.studies.options import PersonalisationOptions
from fedmeta.pipelines.training import curves, nodes

ADAM, HUGE = {"name": "adam", "lr": 0.01}, {"name": "sgd", "lr": 1e20}
BLOCKS = {
    "fedavg": {"local": HUGE, "batch_size": 4, "weights": "num_examples"},
    "fedavg_meta": {"fine_tuning": {"optimizer": ADAM, "batch_size": 4}},
    "maml": {"inner_lr": 1e25, "server": {"name": "sgd", "lr": 1e25}},
    "reptile": {"local": ADAM, "steps": 2, "batch_size": 3},
    "fedavgm": {"server": {"name": "momentum", "lr": 1.0}},
    "fedavgm_reptile": {"server": ADAM},
}
MODEL = {"channels": [2, 3], "hidden": 5, "classes": 4, "image_size": 8}
TRAINING = TrainingOptions(
    rounds=6,
    clients_per_round=3,
    evaluate_every=2,
    evaluation_clients=None,
    resample=False,
    seed=0,
    device="cpu",
    backend="sequential",
    clients_at_once=2,
    chunk=256,
)
PARTITION = PartitionOptions(
    clients=(0.7, 0.15, 0.15), support_fraction=0.4, strategy="random", seed=0
)
STORY = pytest.mark.parametrize("name", ["fedavg", "maml"])


def changed(**options):
    return TRAINING.model_copy(update=options)


def trained(data, folder, name, training=TRAINING, start=None, blocks=BLOCKS):
    """The chunks of a training, saved as Kedro saves them."""
    path, names = str(folder / f"{name}.safetensors"), trained_with(name)
    made = []
    for chunk in nodes.train(
        BENCHMARKS["femnist"],
        names,
        Data(**data),
        earlier=EarlierCheckpointsDataset(path).load(),
        partition=PARTITION,
        training=training,
        model=MODEL,
        start=start,
        **{block: blocks[block] for n in names for block in blocks_of(n)},
    ):
        CheckpointDataset(path).save(chunk[0])
        made.append(chunk)
    return made


def judged(data, checkpoint, name, blocks=BLOCKS):
    return evaluate(
        BENCHMARKS["femnist"],
        [name],
        name,
        Data(**data),
        checkpoint=checkpoint,
        training=TRAINING,
        model=MODEL,
        **{block: blocks[block] for block in blocks_of(name)},
    )


def never(*args):
    raise AssertionError("trained again")


@STORY
def test_it_stops_and_keeps_its_last_finite_checkpoint(data, tmp_path, name, caplog):
    *_, (checkpoint, *histories) = trained(data, tmp_path, name)
    found = checkpoint.diverged
    assert 1 <= found.round <= 3
    assert found.client in {"", *data["client_split"]["train"]}
    assert checkpoint.state.round < found.round
    assert is_finite([checkpoint.state.meta, checkpoint.state.opt_state])
    kept = read_checkpoint(tmp_path / f"{name}.safetensors")
    assert (kept.diverged, kept.rounds) == (found, 6)
    for history in histories:  # and validation scores
        assert history.attrs["diverged"] == found._asdict()
        assert history["round"].max() == checkpoint.state.round
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith(
        f"{trained_with(name)[-1]}: diverged in round {found.round}: "
    )
    assert {"fedavg": "lower local.lr (1e+20)", "maml": "lower inner_lr (1e+25)"}[
        name
    ] in line
    assert "training.nonfinite_updates=skip" in line


@STORY
def test_the_same_command_says_so_at_once(data, tmp_path, name, monkeypatch, caplog):
    *_, (first, *_) = trained(data, tmp_path, name)
    monkeypatch.setattr(nodes, "run_rounds", never)
    caplog.clear()
    for training in (TRAINING, changed(rounds=9)):
        *_, (again, *histories) = trained(data, tmp_path, name, training)
        assert again.diverged == first.diverged
        assert all(h.attrs["diverged"] for h in histories)
    assert "diverged in round" in caplog.text


def test_rounds_before_it_can_be_asked_for(data, tmp_path, monkeypatch):
    genuine = nodes.run_rounds

    def late(algorithm, state, cohorts, for_each, *rest):
        def poisoned(meta, cohort, number):
            for client, output in for_each(meta, cohort, number):
                bad = math.inf if number == 3 else 1.0
                yield client, output._replace(weight=output.weight * bad)

        return genuine(algorithm, state, cohorts, poisoned, *rest)

    monkeypatch.setattr(nodes, "run_rounds", late)
    blocks = {**BLOCKS, "maml": {"inner_lr": 0.1, "server": ADAM}}
    *_, (checkpoint, history, _) = trained(data, tmp_path, "maml", blocks=blocks)
    cohort = nodes.sample_cohort(data["client_split"]["train"], 3, 0, 3)
    assert checkpoint.diverged == Divergence(3, cohort[0], "weight")
    assert history["round"].tolist() == [0, 2]
    monkeypatch.setattr(nodes, "run_rounds", never)
    less = changed(rounds=2)
    *_, (checkpoint, history, _) = trained(data, tmp_path, "maml", less, blocks=blocks)
    assert checkpoint.diverged is None
    assert "diverged" not in history.attrs
    # and of those two files the one that knows is taken
    *_, (checkpoint, *_) = trained(data, tmp_path, "maml", blocks=blocks)
    assert checkpoint.diverged.round == 3


def test_clients_can_be_left_out_and_are_counted(data, tmp_path, monkeypatch):
    genuine, bad = nodes.run_rounds, data["client_split"]["train"][0]

    def poisoned(algorithm, state, cohorts, for_each, *rest):
        def sent(meta, cohort, number):
            for client, output in for_each(meta, cohort, number):
                worse = math.nan if client == bad else 1.0
                yield client, output._replace(weight=output.weight * worse)

        return genuine(algorithm, state, cohorts, sent, *rest)

    monkeypatch.setattr(nodes, "run_rounds", poisoned)
    blocks = {**BLOCKS, "maml": {"inner_lr": 0.1, "server": ADAM}}
    trained(data, tmp_path, "maml", blocks=blocks)  # stops: another identity
    skip = changed(nonfinite_updates="skip")
    *_, (checkpoint, history, _) = trained(data, tmp_path, "maml", skip, blocks=blocks)
    assert (checkpoint.diverged, checkpoint.state.round) == (None, 6)
    cohorts = [
        nodes.sample_cohort(data["client_split"]["train"], 3, 0, t) for t in range(1, 7)
    ]
    left_out = [bad in cohort for cohort in cohorts]
    expected = [0, *(sum(left_out[t : t + 2]) for t in (0, 2, 4))]
    assert sum(expected) > 0
    assert history["train_skipped_clients"].tolist() == expected


@pytest.mark.parametrize("name", ["fedavg", "fedavg_meta", "maml"])
def test_its_scores_have_no_row_and_say_so(data, tmp_path, name):
    home = name.removesuffix("_meta")
    *_, (checkpoint, *_) = trained(data, tmp_path, home)
    scores = judged(data, checkpoint, name)
    assert scores.empty
    assert scores.attrs["diverged"] == checkpoint.diverged._asdict()
    finished = checkpoint.state._replace(round=TRAINING.rounds)
    healthy = judged(data, checkpoint._replace(diverged=None, state=finished), name)
    assert healthy.columns.tolist() == scores.columns.tolist()
    assert len(healthy) == len(data["client_split"]["test"])
    personalisation = PersonalisationOptions(
        optimizer=ADAM, batch_size=None, epochs=(0, 2)
    )
    personal = personalise(
        BENCHMARKS["femnist"],
        name,
        Data(**data),
        checkpoint=checkpoint,
        training=TRAINING,
        model=MODEL,
        personalisation=personalisation,
    )
    assert personal.empty
    assert personal.attrs["diverged"] == checkpoint.diverged._asdict()


def test_what_starts_from_it_is_not_trained(data, tmp_path, monkeypatch):
    *_, (before, *_) = trained(data, tmp_path, "fedavgm")
    monkeypatch.setattr(nodes, "run_rounds", never)
    for _ in range(2):
        *_, (after, *kept) = trained(data, tmp_path, "fedavgm_reptile", start=before)
        assert after.diverged.round == before.diverged.round
        assert "in the training before" in str(after.diverged)
        for table, column in zip(
            kept, ("validation_accuracy_after", "accuracy_sum_after"), strict=True
        ):
            assert table.empty
            assert column in table
            assert table.attrs["diverged"] == after.diverged._asdict()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_client_that_diverges_is_in_the_validation_loss(bad):
    row = {"num_support": 5, "num_query": 10, "loss_sum_before": 20.0}
    row |= {"accuracy_sum_before": 3.0, "accuracy_sum_after": 6.0}
    scores = [{**row, "loss_sum_after": loss} for loss in (10.0, bad)]
    found = curves._means(pd.DataFrame(scores))
    assert found["validation_loss_before"] == 2
    assert not np.isfinite(found["validation_loss_after"])


def test_adaptation_that_diverges_on_a_test_client_is_said(data, tmp_path, caplog):
    blocks = {**BLOCKS, "maml": {"inner_lr": 0.1, "server": ADAM}}
    *_, (checkpoint, *_) = trained(data, tmp_path, "maml", blocks=blocks)
    wild = {"maml": {"inner_lr": 1e30, "server": ADAM}}
    of_training = {n: v for n, v in checkpoint.settings.items() if "maml" not in n}
    scores = judged(data, checkpoint._replace(settings=of_training), "maml", wild)
    assert not np.isfinite(scores["loss_sum_after"]).any()
    assert (scores["accuracy_sum_after"] == 0).all()
    assert "adaptation diverged in 3 of 3 cases" in caplog.text


def test_the_remedy_names_the_rates():
    options = {"inner_lr": 0.5, "plan": {"epochs": 1}, "server": HUGE}
    lower = "lower inner_lr (0.5) or server.lr (1e+20)"
    assert remedy(options, Divergence(1, "ann", "update")).startswith(f"{lower}, or ")
    # what the server computes is not mended by leaving a client out
    assert remedy(options, Divergence(1, "", "new state")) == lower
