"""Parameters that are wrong end in one line that names key, value and what is known."""

import copy
import re
from inspect import signature

import pytest
import torch

from fedmeta.core.algorithms import (
    ALGORITHMS,
    FineTuning,
    blocks_of,
    options_of,
)
from fedmeta.core.inner import Plan
from fedmeta.models.cnn import femnist_cnn
from fedmeta.options import build, build_algorithm
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.training.machine import choose_backend, choose_device

ADAM = {"name": "adam", "lr": 0.001}
GOOD = {
    "fedavg": {"local": ADAM, "epochs": 1, "batch_size": 10},
    "fedavg_meta": {"local": ADAM, "fine_tuning": {"optimizer": ADAM, "epochs": 2}},
    "maml": {"inner_lr": 0.05, "server": ADAM, "plan": {"batch_size": None}},
    "fomaml": {
        "inner_lr": 0.05,
        "server": ADAM,
        "local": {"optimizer": ADAM, "support_size": 10, "query_size": 10},
    },
    "meta_sgd": {
        "alpha_init": [0.005, 0.1],
        "alpha_range": [0, 1],
        "server": {"name": "sgd", "lr": 1},
    },
    "anil": {"head": ["classifier"], "inner_lr": 0.05, "server": ADAM},
    "per_fedavg": {
        "inner_lr": 0.05,
        "local": {"name": "sgd", "lr": 0.05},
        "hessians": {"last": 0, "difference": None},
        "adapt_plan": {"epochs": 2},
    },
    "nu_step": {"inner_lr": 0.05, "steps": 3, "local": ADAM, "batches": "sets"},
    "reptile": {"local": ADAM, "steps": 5, "batch_size": None},
    "fedprox": {"local": ADAM, "proximal": 0.1},
    "fedavgm": {
        "local": ADAM,
        "server": {"name": "momentum", "lr": 1, "momentum": 0.9},
    },
    "fedadagrad": {"local": ADAM, "server": {"name": "fedadagrad", "lr": 0.1}},
    "fedadam": {"local": ADAM, "server": {"name": "fedadam", "lr": 0.1, "tau": 0.01}},
    "fedyogi": {"local": ADAM, "server": {"name": "fedyogi", "lr": 0.1, "b2": 0.9}},
    "fedavgm_reptile": {"local": ADAM, "steps": 5, "adapt_epochs": 3},
    "local": {"fine_tuning": {"optimizer": ADAM, "epochs": 20}},
    "fedbabu": {"local": ADAM, "frozen": ["classifier"]},
    "knn_per": {"neighbours": 5, "share": 0},
    "ditto": {"fine_tuning": {"optimizer": ADAM, "proximal": 0.1}},
    "fedper": {
        "local": ADAM,
        "head": ["classifier"],
        "fine_tuning": {"optimizer": ADAM},
    },
    "fedrep": {
        "local": ADAM,
        "head": ["classifier"],
        "fine_tuning": {"optimizer": ADAM},
        "head_epochs": 2,
    },
    "scaffold": {"lr": 0.1, "population": 3},
}
TRAINING = {
    "rounds": 4,
    "clients_per_round": 2,
    "evaluate_every": 2,
    "evaluation_clients": None,
    "resample": False,
    "seed": 0,
    "device": "auto",
    "backend": "auto",
    "clients_at_once": None,
    "chunk": 256,
}
PARTITION = {
    "clients": [0.8, 0.1, 0.1],
    "support_fraction": 0.2,
    "strategy": "random",
    "seed": 0,
}


def refused(name, **changes):
    """The one line with which an algorithm's options are refused."""
    with pytest.raises(ValueError) as error:
        build_algorithm(name, None, {**copy.deepcopy(GOOD[name]), **changes})
    text = str(error.value)
    assert "\n" not in text
    return text


def test_good_options_of_every_algorithm():
    assert list(GOOD) == list(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_good_options(name):
    built = build_algorithm(name, None, GOOD[name])
    trains = bool(built.sent({"theta": {"w": torch.zeros(())}}))
    assert built.work(1, 1).gradients >= 2 * trains


def test_values_become_what_the_factory_takes():
    taken = {}

    def factory(loss, *, plan: Plan, fine_tuning: FineTuning | None = None):
        taken.update(plan=plan, fine_tuning=fine_tuning)

    plan = {"epochs": 5, "batch_size": None}
    build(factory, {"plan": plan, "fine_tuning": None}, "it", None)
    assert taken == {"plan": Plan(5, None), "fine_tuning": None}
    build(factory, {"plan": {}, "fine_tuning": {"optimizer": ADAM}}, "it", None)
    assert taken["plan"] == Plan()
    assert taken["fine_tuning"].batch_size == 10


@pytest.mark.parametrize("name", ALGORITHMS)
def test_misspelt_option(name):
    text = refused(name, wieghts="uniform")
    assert text.startswith(f"{name}: unknown option 'wieghts'; known are ")
    assert "chunk" in text
    assert "loss" not in text


def test_misspelt_option_of_a_part():
    text = refused("maml", plan={"epoch": 1})
    assert "maml" in text
    assert "unknown option 'epoch'; known are epochs, batch_size" in text
    text = refused("fedavg_meta", fine_tuning={"optimizer": ADAM, "steps": 1})
    assert "unknown option 'steps'; known are optimizer, epochs, batch_size" in text
    text = refused("maml", server={"name": "adam", "rate": 1})
    assert "unknown option 'rate'; known are lr, b1, b2, eps" in text


@pytest.mark.parametrize(
    ("name", "changes", "parts"),
    [
        ("fedavg", {"epochs": "one"}, ["epochs", "'one'", "whole number"]),
        ("fedavg", {"epochs": 1.5}, ["epochs", "1.5", "whole number"]),
        ("maml", {"inner_lr": None}, ["inner_lr", "None", "number"]),
        ("maml", {"plan": 3}, ["plan", "3", "mapping"]),
        ("meta_sgd", {"alpha_init": [0.1]}, ["alpha_init", "[0.1]"]),
        ("anil", {"head": "classifier"}, ["head", "'classifier'", "list"]),
        ("per_fedavg", {"batches": "fresh"}, ["batches", "'fresh'", "'independent'"]),
        ("nu_step", {"hessians": {"last": "all"}}, ["hessians", "last", "'all'"]),
        ("maml", {"server": 0.1}, ["server", "0.1", "sgd, momentum"]),
    ],
)
def test_wrong_type(name, changes, parts):
    text = refused(name, **changes)
    assert all(part in text for part in [name, *parts])


def test_missing_option():
    options = {"server": ADAM}
    with pytest.raises(ValueError, match="maml: option 'inner_lr' is missing"):
        build_algorithm("maml", None, options)


def test_block_that_is_no_mapping():
    with pytest.raises(
        ValueError, match="maml: expected a mapping of options, not None"
    ):
        build_algorithm("maml", None, None)


def test_unknown_algorithm():
    with pytest.raises(ValueError) as error:
        build_algorithm("mmal", None, {})
    known = ", ".join(GOOD)
    assert str(error.value) == f"unknown algorithm 'mmal'; one of {known}"


def test_unknown_optimizer():
    text = refused("maml", server={"name": "adamw", "lr": 1})
    assert "server" in text
    assert "'adamw'" in text
    assert "one of sgd, momentum, adam, fedadagrad, fedadam, fedyogi" in text


def test_options_are_those_of_the_likened_and_then_ones_own():
    blocks = {
        "per_fedavg": {"inner_lr": 0.05, "local_steps": 4, "weights": "uniform"},
        "nu_step": {"steps": 3, "local_steps": 2},
        "maml": {"inner_lr": 9.0},
    }
    assert blocks_of("nu_step") == ["per_fedavg", "nu_step"]
    assert options_of("nu_step", blocks) == {
        "inner_lr": 0.05,
        "local_steps": 2,
        "weights": "uniform",
        "steps": 3,
    }
    assert options_of("per_fedavg", blocks) == blocks["per_fedavg"]
    # what it starts from gives it no options
    assert blocks_of("fedavgm_reptile") == ["reptile", "fedavgm_reptile"]
    assert blocks_of("fedavg_meta") == ["fedavg", "fedavg_meta"]


@pytest.mark.parametrize(
    "name",
    [n for n, e in ALGORITHMS.items() if "weights" in signature(e.factory).parameters],
)
def test_unknown_weights(name):
    text = refused(name, weights="by_size")
    assert "unknown weights 'by_size'; one of uniform, num_examples, num_query" in text


def test_model_options():
    with pytest.raises(
        ValueError, match="model: unknown option 'hiden'; known are chan"
    ):
        build(femnist_cnn, {"hiden": 3}, "model")
    with pytest.raises(ValueError, match="unknown initialization 'zeros'; one of py"):
        build(femnist_cnn, {"initialization": "zeros"}, "model")


@pytest.mark.parametrize(
    ("options", "values", "changes", "parts"),
    [
        (TrainingOptions, TRAINING, {"round": 1}, ["round", "known are"]),
        (TrainingOptions, TRAINING, {"rounds": 0}, ["rounds", "more than 0"]),
        (
            TrainingOptions,
            TRAINING,
            {"backend": "vmap"},
            ["backend", "'vmap'", "threaded"],
        ),
        (TrainingOptions, TRAINING, {"device": "tpu"}, ["device", "'tpu'", "'cuda'"]),
        (TrainingOptions, TRAINING, {"clients_at_once": 0}, ["clients_at_once"]),
        (TrainingOptions, TRAINING, {"pooled": 0}, ["pooled", "more than 0"]),
        (
            TrainingOptions,
            TRAINING,
            {"pooled": 9, "resample": True},
            ["resample and pooled", "only one"],
        ),
        (TrainingOptions, TRAINING, {"probe": {}}, ["probe.inner_lr", "missing"]),
        (
            TrainingOptions,
            TRAINING,
            {"probe": {"inner_lr": 0.1, "steps": 0}},
            ["probe.steps", "more than 0"],
        ),
        (
            PartitionOptions,
            PARTITION,
            {"support_fraction": 1.0},
            ["support_fraction", "less than 1"],
        ),
        (
            PartitionOptions,
            PARTITION,
            {"support_fraction": 0},
            ["support_fraction", "more than 0"],
        ),
        (
            PartitionOptions,
            PARTITION,
            {"clients": [0.8, 0.2, 0.0]},
            ["clients", "more than 0"],
        ),
        (PartitionOptions, PARTITION, {"clients": [0.8, 0.2]}, ["clients.2"]),
    ],
)
def test_typed_options(options, values, changes, parts):
    options.model_validate(values)
    with pytest.raises(ValueError) as error:
        options.model_validate({**values, **changes})
    told = str(error.value)
    assert "\n" not in told
    assert all(part in told for part in parts)
    assert not any(word in told for word in ("Input", "Field", "pydantic", "[type="))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="torch sees no GPU: use 'auto' or 'cpu'"):
        choose_device("cuda")


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_float32_is_float32_on_a_gpu(wanted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert choose_device(wanted).type == "cuda"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["auto", "sequential", "threaded", "vectorized"])
def test_every_backend_can_be_chosen(name):
    training = TrainingOptions(**{**TRAINING, "backend": name})
    for_each = choose_backend(training, torch.device("cpu"))(
        lambda meta, task: task, lambda client, number: torch.zeros(1)
    )
    assert callable(for_each)


@pytest.mark.parametrize(
    ("compression", "told"),
    [
        (
            {"name": "int4"},
            "'compression': expected {name: one of int8, top_k, ...}, not",
        ),
        ("int8", "'compression': expected a mapping of options"),
        ({"name": "top_k"}, "'compression': top_k: option 'fraction' is missing"),
        ({"name": "top_k", "fraction": 0}, "'fraction': expected more than 0"),
        ({"name": "top_k", "fraction": 1.1}, "'fraction': expected 1 or less"),
        ({"name": "int8", "fraction": 0.1}, "unknown option 'fraction'"),
    ],
)
def test_an_unknown_compression_is_refused(compression, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        TrainingOptions.model_validate({**TRAINING, "compression": compression})


def test_a_compression_is_accepted():
    given = {"name": "top_k", "fraction": 1}
    accepted = TrainingOptions.model_validate({**TRAINING, "compression": given})
    assert accepted.compression == given
