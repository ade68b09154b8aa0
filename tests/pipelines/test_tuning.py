"""Successive halving: who goes on, who is chosen, and nothing is done twice."""

import pandas as pd
import pytest
from test_training import BLOCKS, MODEL, PARTITION, TRAINING

from fedmeta import identity
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import blocks_of
from fedmeta.datasets import CheckpointDataset, EarlierCheckpointsDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.graph import trained_with
from fedmeta.pipelines.studies import halving, tuning
from fedmeta.pipelines.studies.options import TuningOptions
from fedmeta.pipelines.training.setup import Setup

RATES = [{"local": {"name": "adam", "lr": lr}} for lr in (0.001, 0.01, 0.1)]
RECIPES = [
    {"fine_tuning": {"optimizer": {"name": "sgd", "lr": lr}}} for lr in (0.1, 1.0)
]
TUNING = TuningOptions(
    rungs=[{"rounds": 2, "keep": 1}, {"rounds": 4, "keep": 1}],
    work_limit=1.5,
    configurations={"fedavg": RATES, "fedavg_meta": RECIPES, "maml": [{}]},
)


def tuned(data, folder, name="fedavg", tuning=TUNING, names=None, **changed):
    """The node as Kedro runs it, with some blocks changed; the last table."""
    path, names = str(folder / f"{name}.safetensors"), names or trained_with(name)
    blocks = {b: BLOCKS[b] for n in (*names, "maml") for b in blocks_of(n)} | changed
    for checkpoint, table in halving.tune(
        BENCHMARKS["femnist"],
        names,
        "maml",
        Data(**data),
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


def test_what_starts_from_a_training_is_judged_on_it(data, tmp_path):
    same = {"fine_tuning": {"optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 0}}
    tuning = TUNING.model_copy(
        update={
            "configurations": {
                "fedavg": RATES[:1],
                "knn_per": [{"share": 0.0}, {"share": 0.9}],
                "ditto": [same, RECIPES[1]],
            }
        }
    )
    table = tuned(data, tmp_path, tuning=tuning, names=["fedavg", "knn_per", "ditto"])
    first = table[(table["rounds"] == 2) & (table["iterate"] == "last")]
    found = first.set_index(["algorithm", "adaptation"])["accuracy"]
    assert len(found) == 1 + 2 + 2
    shared = found["fedavg"].item()
    assert found["knn_per", "share=0.0"] == shared
    assert found["knn_per", "share=0.9"] != shared
    assert found["ditto"].iloc[0] == shared


def test_what_learns_nothing_in_rounds_has_no_average(data, tmp_path):
    tuning = TUNING.model_copy(update={"configurations": {"local": RECIPES}})
    table = tuned(data, tmp_path, "local", tuning)
    assert set(table["iterate"]) == {"last"}
    assert table["work"].eq(0).all()
    assert table.groupby("rounds")["kept"].sum().eq(1).all()


def judging(judged):
    """`Setup.evaluated`, which notes whom it judges, but for a look at one client.

    A training that resumes looks at one for the names of the metrics.
    """
    genuine = Setup.evaluated

    def evaluated(setup, name, meta, clients):
        judged.extend([name] * (len(clients) > 1))
        return genuine(setup, name, meta, clients)

    return evaluated


def test_nothing_is_trained_or_judged_twice(data, found, monkeypatch):
    table, folder = found
    monkeypatch.setattr(Setup, "evaluated", judging(judged := []))
    pd.testing.assert_frame_equal(tuned(data, folder), table, check_dtype=False)
    assert not judged


def test_other_options_of_adaptation_are_judged_again(data, tmp_path, monkeypatch):
    """A configuration is called by what it changes, be it nothing."""
    monkeypatch.setattr(Setup, "evaluated", judging(judged := []))
    blocks = {"fedavg": [{}], "fedavg_meta": [{}]}
    tuning = TUNING.model_copy(update={"configurations": blocks})
    first = tuned(data, tmp_path, tuning=tuning, fedavg_meta=RECIPES[0])
    judged.clear()
    other = tuned(data, tmp_path, tuning=tuning, fedavg_meta=RECIPES[1])
    assert judged == ["fedavg_meta"] * 4  # at two rungs, last and average
    made, others = first.attrs["settings"], other.attrs["settings"]
    assert identity.conflicts(made, others) == ["fedavg_meta.fine_tuning.optimizer.lr"]


def test_tables_say_what_they_were_made_with(data, found, tmp_path, capsys):
    table, _ = found
    other = tuned(data, tmp_path, "maml")
    made, others = table.attrs["settings"], other.attrs["settings"]
    assert identity.conflicts(made, others) == []
    assert made["tuning.rungs"] == others["tuning.rungs"]
    assert made.keys() - others.keys() >= {"tuning.configurations.fedavg"}
    assert made["code.pipelines.studies.halving"]
    capsys.readouterr()
    together = tuning.choose(fedavg=table, maml=other)
    said = " ".join(capsys.readouterr().out.split())
    assert [said.count(f" {n} ") for n in ("FedAvg", "FedAvg(Meta)")] == [1, 1]
    for name in ("FedAvg(Meta)", "FedMeta(MAML)"):
        (row,) = together[together["chosen"] & (together["algorithm"] == name)].index
        assert f"{together.loc[row, 'accuracy']:.1f} %" in said
    assert together.attrs["settings"] == {**made, **others}


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


def test_where_every_configuration_diverges_none_is_chosen(data, tmp_path, capsys):
    rates = [{"inner_lr": 1e30}, {"inner_lr": 2e30}]
    options = TUNING.model_copy(update={"configurations": {"maml": rates}})
    table = tuned(data, tmp_path, "maml", options)
    assert table["adaptation"].tolist() == ["diverged"] * 2
    assert not table["kept"].any()
    capsys.readouterr()
    assert not tuning.choose(maml=table)["chosen"].any()
    assert "FedMeta(MAML) all configurations diverged" in capsys.readouterr().out


def test_an_unknown_layer_is_told_of_before_anything_is_trained(data, tmp_path):
    wrong = [{"fine_tuning": {"optimizer": {"name": "sgd", "lr": 0.1}, "head": ["x"]}}]
    blocks = {"fedavg": RATES[:1], "fedavg_meta": [*RECIPES, *wrong]}
    options = TUNING.model_copy(update={"configurations": blocks})
    with pytest.raises(ValueError, match="head .'x'.: expected some of the model's"):
        tuned(data, tmp_path, tuning=options)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "rungs", [[(4, 1), (2, 2)], [(2, 1), (2, 1)], [(2, 1), (4, 2)]]
)
def test_rungs_ascend(rungs):
    rows = [{"rounds": rounds, "keep": keep} for rounds, keep in rungs]
    with pytest.raises(ValueError, match="more rounds at each rung"):
        TuningOptions(rungs=rows, work_limit=1, configurations={})
