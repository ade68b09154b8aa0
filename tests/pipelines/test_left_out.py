"""Clients to whom a gap leaves too few query records take no part in anything."""

import pytest
from test_metrics import PARTITION, TRAINING, scored, trained

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.datasets import EarlierCheckpointsDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.preparation.nodes import divide
from fedmeta.pipelines.training import nodes

FEMNIST = BENCHMARKS["femnist"]
MODEL = {"channels": [2, 3], "hidden": 5, "classes": 4, "image_size": 8}
IN_ORDER = PARTITION.model_copy(
    update={"strategy": "order", "gap": 1, "min_query": 4, "support_fraction": 0.4}
)
# Clients have 6 to 10 records, of which 2, 2, 3, 3 and 4 are support: with a gap of 1,
# those of 6 keep 3 query records.


@pytest.fixture
def left(data):
    """The data without the four clients of 6 records, one of whom is in each part."""
    small = [c for c, n in _sizes(data).items() if n == 6]
    others = [c for c in data["client_split"]["train"] if c not in small]
    split = {
        "train": [*small[:2], *others[:8]],
        "validation": [small[2], *others[8:10]],
        "test": [small[3], *data["client_split"]["test"]],
        "checksum": "c",
    }
    table = divide(FEMNIST, data["records"], data["clients"], IN_ORDER)
    assert set(_sizes(data)) - set(table["client_id"]) == set(small)
    return {**data, "client_split": split, "support_query": table}


def _sizes(data):
    clients = data["clients"]
    return dict(zip(clients["client_id"], clients["stop"], strict=True))


def taking_part(left, name):
    there = set(left["support_query"]["client_id"])
    return [client for client in left["client_split"][name] if client in there]


def test_they_are_not_trained_nor_watched_nor_tested(left, tmp_path):
    checkpoint, history = trained(left, tmp_path, FEMNIST)
    watched = taking_part(left, "validation")
    assert set(history["validation_clients"]) == {len(watched)}
    assert len(watched) < len(left["client_split"]["validation"])
    scores = scored(left, checkpoint, FEMNIST)
    assert scores["client_id"].tolist() == taking_part(left, "test")


def test_cohorts_are_drawn_from_the_others(left, tmp_path):
    many = len(left["client_split"]["train"])
    training = TRAINING.model_copy(update={"clients_per_round": many})
    with pytest.raises(ValueError, match=f"is {many}, but there are {many - 2} train"):
        next(run(left, tmp_path, "maml", training))
    every = training.model_copy(update={"clients_per_round": many - 2})
    *_, (checkpoint, *_) = run(left, tmp_path, "maml", every)
    assert checkpoint.state.round == 2


def test_each_support_fraction_watches_its_own(left, tmp_path):
    """Which clients a gap leaves enough query records depends on the fraction."""
    training = TRAINING.model_copy(update={"support_fractions": (0.3, 0.5, 0.9)})
    *_, (checkpoint, *_) = run(left, tmp_path, "fedavg", training)
    histories = checkpoint.history
    for fraction in (0.3, 0.5):
        other = IN_ORDER.model_copy(update={"support_fraction": fraction})
        table = divide(FEMNIST, left["records"], left["clients"], other)
        wanted = taking_part({**left, "support_query": table}, "validation")
        found = histories[f"fedavg p{fraction:g}"]["validation_clients"]
        assert set(found) == {len(wanted)}
    assert "fedavg p0.9" not in histories  # nobody is left there: its own run says so


def run(left, folder, name, training):
    options = {
        "maml": {"inner_lr": 0.1, "server": {"name": "sgd", "lr": 0.1}},
        "fedavg": {"local": {"name": "sgd", "lr": 0.1}, "weights": "num_examples"},
    }
    return nodes.train(
        FEMNIST,
        [name],
        Data(**left),
        earlier=EarlierCheckpointsDataset(str(folder / "x.safetensors")).load(),
        partition=IN_ORDER,
        training=training,
        model=MODEL,
        **{name: options[name]},
    )


def test_a_part_of_which_nobody_is_left(left):
    small = left["client_split"]["train"][:2]
    split = {**left["client_split"], "test": small}
    data = Data(**{**left, "client_split": split})
    with pytest.raises(ValueError, match="leaves none of 2 test clients enough query"):
        data.part("test")
    assert data.part("train") == taking_part(left, "train")
