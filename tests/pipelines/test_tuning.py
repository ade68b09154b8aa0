"""Successive halving: who goes on, who is chosen, and nothing is done twice."""

import pandas as pd
import pytest
from test_training import BLOCKS, MODEL, PARTITION, TRAINING

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import blocks_of
from fedmeta.datasets import CheckpointDataset, EarlierCheckpointsDataset
from fedmeta.pipelines.studies import halving
from fedmeta.pipelines.studies.options import TuningOptions
from fedmeta.pipelines.training.pipeline import trained_with

RATES = [{"local": {"name": "adam", "lr": lr}} for lr in (0.001, 0.01, 0.1)]
RECIPES = [
    {"fine_tuning": {"optimizer": {"name": "sgd", "lr": lr}}} for lr in (0.1, 1.0)
]
TUNING = TuningOptions(
    rungs=[{"rounds": 2, "keep": 1}, {"rounds": 4, "keep": 1}],
    work_limit=1.5,
    configurations={"fedavg": RATES, "fedavg_meta": RECIPES, "maml": [{}]},
)


def tuned(data, folder, name="fedavg", tuning=TUNING):
    """The node as Kedro runs it; the last table."""
    path, names = str(folder / f"{name}.safetensors"), trained_with(name)
    blocks = {b: BLOCKS[b] for n in (*names, "maml") for b in blocks_of(n)}
    for checkpoint, table in halving.tune(
        BENCHMARKS["femnist"],
        names,
        "maml",
        **data,
        earlier=EarlierCheckpointsDataset(path).load(),
        partition=PARTITION,
        training=TRAINING,
        model=MODEL,
        tuning=tuning,
        **blocks,
    ):
        CheckpointDataset(path).save(checkpoint)
    return table


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    return tuned(data, folder), folder


def test_every_configuration_is_judged_and_the_best_go_on(found):
    table, _ = found
    first, last = (table[table["rounds"] == rounds] for rounds in (2, 4))
    # three trainings, each as it is and by two recipes, last and averaged
    assert len(first) == 3 * (1 + 2) * 2
    for name, rows in first.groupby("algorithm"):
        best = rows.loc[rows["accuracy"].idxmax()]
        kept = rows[rows["kept"]]
        assert kept["accuracy"].tolist() == [best["accuracy"]], name
    assert set(last["training"]) == set(first.loc[first["kept"], "training"])
    assert last.groupby("algorithm")["kept"].sum().to_dict() == {
        "fedavg": 1,
        "fedavg_meta": 1,
    }
    assert table["work"].between(0.5, 1.5).all()


def test_nothing_is_trained_or_judged_twice(data, found, monkeypatch):
    table, folder = found

    def never(*_):
        raise AssertionError("judged again")

    monkeypatch.setattr(halving.Setup, "evaluated", never)
    pd.testing.assert_frame_equal(tuned(data, folder), table, check_dtype=False)


def test_too_much_work_is_refused(data, tmp_path):
    heavy = TUNING.model_copy(update={"configurations": {"fedavg": [{"epochs": 9}]}})
    heavy.configurations["fedavg_meta"] = RECIPES
    with pytest.raises(ValueError, match="fedavg: a client update with epochs=9 costs"):
        tuned(data, tmp_path, tuning=heavy)


def test_a_configuration_that_diverges_is_not_kept(data, tmp_path):
    rates = [{"inner_lr": 1e30}, {"inner_lr": 0.1}]
    tuning = TUNING.model_copy(update={"configurations": {"maml": rates}})
    table = tuned(data, tmp_path, "maml", tuning)
    assert table.loc[table["training"] == 1, "adaptation"].tolist() == ["diverged"]
    assert set(table.loc[table["kept"], "training"]) == {2}
