"""A metric is one entry of a model's score: it reaches everything by itself."""

import logging
from functools import wraps
from io import StringIO

import pandas as pd
import pytest
import torch
from rich.console import Console

from fedmeta import identity
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.evaluation import metrics_of
from fedmeta.core.gradients import masked_sum
from fedmeta.datasets import CheckpointDataset, EarlierCheckpointsDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.studies.nodes import personalise
from fedmeta.pipelines.studies.options import PersonalisationOptions
from fedmeta.pipelines.training import nodes
from fedmeta.reporting.report import DataNote, render
from fedmeta.reporting.results import Run, tidy
from fedmeta.reporting.shown import printable, shown
from fedmeta.reporting.wording import headline_columns
from fedmeta.studies.comparison import comparison, printed
from fedmeta.tracking.measures import curve_points, final_metrics

FEMNIST = BENCHMARKS["femnist"]
SGD = {"name": "sgd", "lr": 0.1}
MODEL = {"channels": [2, 3], "hidden": 5, "classes": 4, "image_size": 8}
TRAINING = TrainingOptions(
    rounds=2,
    clients_per_round=2,
    evaluate_every=1,
    evaluation_clients=None,
    resample=False,
    seed=0,
    device="cpu",
    backend="sequential",
    clients_at_once=1,
    chunk=4,
)
PARTITION = PartitionOptions(
    clients=(0.7, 0.15, 0.15), support_fraction=0.4, strategy="random", seed=0
)
MADE_UP = "surprise"  # how many nats the answer takes, at least one


@wraps(FEMNIST.model)  # whose options it has
def surprising(**options):
    """FEMNIST's network, scored by one thing more."""
    model = FEMNIST.model(**options)

    def judge(logits, batch):
        logs = logits.log_softmax(-1)
        nats = -logs.gather(-1, batch.y[:, None])[:, 0]
        made_up = masked_sum(nats.clamp(min=1), batch.mask)
        return {**model.judge(logits, batch), MADE_UP: made_up}

    return model._replace(judge=judge)


BENCHMARK = FEMNIST._replace(model=surprising)


def trained(data, folder, benchmark=BENCHMARK, model=MODEL, rounds=2):
    """The last checkpoint and history of a training, resumed where there is one."""
    path = str(folder / "maml.safetensors")
    for checkpoint, history, _ in nodes.train(
        benchmark,
        ["maml"],
        Data(**data),
        earlier=EarlierCheckpointsDataset(path).load(),
        partition=PARTITION,
        training=TRAINING.model_copy(update={"rounds": rounds}),
        model=model,
        maml={"inner_lr": 0.1, "server": SGD},
    ):
        CheckpointDataset(path).save(checkpoint)
    return checkpoint, history


def scored(data, checkpoint, benchmark=BENCHMARK, model=MODEL):
    return evaluate(
        benchmark,
        ["maml"],
        "maml",
        Data(**data),
        checkpoint=checkpoint,
        training=TRAINING.model_copy(update={"rounds": checkpoint.rounds}),
        model=model,
        maml={"inner_lr": 0.1, "server": SGD},
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    checkpoint, history = trained(data, tmp_path_factory.mktemp("run"))
    return checkpoint, history, scored(data, checkpoint)


def test_it_is_in_scores_as_sums(run):
    *_, scores = run
    assert metrics_of(scores) == ["loss", "accuracy", MADE_UP]
    for when in ("before", "after"):
        sums, least = scores[f"{MADE_UP}_sum_{when}"], scores["num_query"]
        assert (sums >= least).all()
        assert (sums >= scores[f"loss_sum_{when}"]).all()


def test_it_is_in_histories_and_curves(run):
    _, history, _ = run
    points = {point.name for point in curve_points(history)}
    for when in ("before", "after"):
        for name in (MADE_UP, f"macro_{MADE_UP}"):
            assert (history[f"validation_{name}_{when}"] >= 1).all()
            assert f"validation/{name}_{when}" in points


def test_it_is_tracked(run):
    *_, scores = run
    found = final_metrics(scores)
    sums = scores[f"{MADE_UP}_sum_after"]
    mean = sums.sum() / scores["num_query"].sum()
    assert found[f"test/{MADE_UP}_after"] == pytest.approx(mean)
    macro = (sums / scores["num_query"]).mean()
    assert found[f"test/macro_{MADE_UP}_after"] == pytest.approx(macro)


def test_it_is_in_the_tables_the_page_and_the_terminal(run):
    _, history, scores = run
    cell = Run({"support_fraction": 0.4, "seed": 0}, scores, history)
    watched = pd.DataFrame({"round": []})
    report = comparison(tidy([("fedavg", cell)], "sample"), {"fedavg": watched}, 0.5)
    table = report.tables["accuracy"]
    mean = scores[f"{MADE_UP}_sum_after"].sum() / scores["num_query"].sum()
    assert table[f"{MADE_UP}_after"].item() == pytest.approx(mean)
    assert f"macro_{MADE_UP}_before" in table
    assert f"{MADE_UP}_after" in headline_columns(table)
    headline = shown(table[headline_columns(table)])
    place = headline.titles.index("Surprise after")
    assert headline.bodies[0][1][0][place].text == f"{mean:.3f}"
    page = render(report, DataNote("FEMNIST", "sample", True, True, {}, []))
    for title in ("Surprise after", "Surprise before", "Mean client surprise after"):
        assert title in page
    assert f"{mean:.3f}" in page
    console = Console(file=StringIO(), width=100)
    console.print(printable(printed(table), "sample"))
    assert "Surprise after" in console.file.getvalue()


def test_it_is_in_the_scores_of_studies(data, run):
    checkpoint, _, scores = run
    epochs = PersonalisationOptions(optimizer=SGD, batch_size=None, epochs=(0, 1))
    table = personalise(
        BENCHMARK,
        "it",
        Data(**data),
        checkpoint=checkpoint,
        training=TRAINING,
        model=MODEL,
        personalisation=epochs,
    )
    none = table[table["epochs"] == 0][f"{MADE_UP}_sum"]
    assert none.tolist() == scores[f"{MADE_UP}_sum_before"].tolist()
    assert f"test/{MADE_UP}_epochs1" in final_metrics(table)


def test_top_5_changes_no_result(data, tmp_path):
    plain, without = trained(data, tmp_path, FEMNIST)
    (tmp_path / "with").mkdir()
    model = {**MODEL, "top": 2}
    checkpoint, history = trained(data, tmp_path / "with", FEMNIST, model)
    assert checkpoint.settings == plain.settings
    for name, weights in plain.state.meta["theta"].items():
        assert torch.equal(weights, checkpoint.state.meta["theta"][name])
    more = [name for name in history if "top2" in name]
    assert len(more) == 4
    pd.testing.assert_frame_equal(history.drop(columns=more), without)
    assert (
        history["validation_top2_after"] >= history["validation_accuracy_after"]
    ).all()


def test_a_metric_asked_for_later_is_in_the_scores_and_in_later_points(
    data, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    model = {**MODEL, "top": 2}
    trained(data, tmp_path, FEMNIST)
    checkpoint, history = trained(data, tmp_path, FEMNIST, model)
    assert "maml: points up to round 2 were recorded without top2" in caplog.text
    assert history["round"].tolist() == [0, 1, 2]
    assert "top2" in metrics_of(scored(data, checkpoint, FEMNIST, model))
    _, longer = trained(data, tmp_path, FEMNIST, model, rounds=3)
    known = longer.set_index("round")["validation_top2_after"].notna()
    assert known.to_dict() == {0: False, 1: False, 2: False, 3: True}
    caplog.clear()
    trained(data, tmp_path, FEMNIST, model, rounds=3)
    assert "without" not in caplog.text


def test_metrics_are_no_part_of_the_identity():
    assert identity.settings(model={"hidden": 5, "top": 5}) == {"model.hidden": 5}
