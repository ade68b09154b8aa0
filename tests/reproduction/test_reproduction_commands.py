"""What is missing, and the line that fills it."""

import shlex

from fedmeta.reproduction.commands import (
    Given,
    commands,
    given_parameters,
    wanted_seeds,
)

NOTHING = Given({}, {})


def test_seeds_are_filled_up_to_three():
    assert wanted_seeds([]) == [0, 1, 2]
    assert wanted_seeds([7]) == [0, 1, 7]
    assert wanted_seeds([0, 1, 2, 3]) == [0, 1, 2, 3]


def test_a_cell_is_a_run():
    assert commands([("meta_sgd", 0.5, 1)], "femnist", "paper", NOTHING) == [
        (
            "FedMeta(Meta-SGD): 50 % support, seed 1",
            "kedro run --pipeline femnist_meta_sgd --env paper "
            "--params support_fraction=0.5,seed=1",
        )
    ]


def test_a_grid_is_a_sweep_and_each_cell_is_filled_once():
    missing = [("maml", p, seed) for p in (0.2, 0.5) for seed in (1, 2)]
    missing += [("fedavg", p, seed) for p in (0.2, 0.5) for seed in (1, 2)]
    missing += [("maml", 0.9, 0), ("fedavg", 0.9, 0)]
    given = Given({"femnist.maml.inner_lr": "0.1"}, {})
    texts = [line for _, line in commands(missing, "femnist", "local", given)]
    assert texts == [
        "kedro sweep --pipeline femnist_fedmeta --params support_fraction=0.2,0.5 "
        "--params seed=1,2 --params femnist.maml.inner_lr=0.1",
        "kedro run --pipeline femnist_fedmeta "
        "--params support_fraction=0.9,seed=0,femnist.maml.inner_lr=0.1",
    ]


def test_a_line_trains_what_is_missing():
    """`femnist_fedmeta` has none of the rivals."""

    def pipelines(*algorithms):
        missing = [(algorithm, 0.2, 1) for algorithm in algorithms]
        lines = commands(missing, "femnist", "local", NOTHING)
        return [line.split()[3] for _, line in lines]

    assert pipelines("maml", "fedrep") == ["femnist_rivals"]
    assert pipelines("ditto", "fedrep") == ["femnist_rivals"]
    assert pipelines("reptile", "maml") == ["femnist_maml", "femnist_reptile"]


def test_a_line_can_be_typed_as_it_stands():
    given = Given({"femnist.raw.folder": "/my data/leaf"}, {})
    pairs = {"seed": "20260401", "femnist.raw.folder": "/my data/leaf"}
    for seeds in ([20260401], [20260401, 1]):
        missing = [("maml", 0.2, seed) for seed in seeds]
        ((_, line),) = commands(missing, "femnist", "local", given)
        words = shlex.split(line)
        values = [word for word in words if "=" in word]
        if len(seeds) == 1:
            expected = {"support_fraction": "0.2", **pairs}
            assert values == [",".join(f"{k}={v}" for k, v in expected.items())]
        else:
            assert values[1:] == ["seed=1,20260401", "femnist.raw.folder=/my data/leaf"]


def test_of_an_unknown_algorithm_no_pipeline_is_known():
    assert commands([("own_idea", 0.5, 1)], "femnist", "paper", NOTHING) == []


def test_what_runs_were_given_beyond_the_files_is_typed_again():
    configured = {
        "training": {"rounds": 2000, "seed": 0, "device": "auto"},
        "partition": {"clients": [0.8, 0.1, 0.1]},
        "raw": {"folder": "data/01_raw/femnist", "sample": None},
        "fedavg": {"local": {"name": "adam", "lr": 0.001}},
        "fedavg_meta": {"fine_tuning": {"epochs": 1, "head": None}},
    }
    recorded = {
        "fedavg_meta": {
            "algorithm.local.lr": "0.1",  # of the training that it shares
            "algorithm.fine_tuning.epochs": "2",
            "algorithm.fine_tuning.head": "['classifier']",  # a sweep takes no list
            "training.rounds": "2000",
            "training.seed": "4",
            "training.device": "cuda",
            "training.dropped_option": "1",
            "partition.clients": "[0.7, 0.1, 0.2]",
            "raw.folder": "/data/leaf",
            "raw.sample.writers": "20",
        }
    }
    given = given_parameters(recorded, configured, "femnist")
    assert given.typed == {
        "femnist.fedavg.local.lr": "0.1",
        "femnist.fedavg_meta.fine_tuning.epochs": "2",
        "femnist.raw.folder": "/data/leaf",
        "femnist.raw.sample.writers": "20",
    }
    assert given.written == {
        "femnist.fedavg_meta.fine_tuning.head": "['classifier']",
        "femnist.partition.clients": "[0.7, 0.1, 0.2]",
    }
    assert given_parameters(recorded, {}, "femnist") == NOTHING


def test_null_is_written_as_kedro_reads_it():
    configured = {"raw": {"sample": {"writers": 20}}}
    recorded = {"maml": {"raw.sample": "None"}}
    given = given_parameters(recorded, configured, "femnist")
    assert given.typed == {"femnist.raw.sample": "null"}
