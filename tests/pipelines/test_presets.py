"""conf/paper has the paper's rates, conf/tuned chosen ones: nothing else differs."""

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import configure_project, settings

from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipeline_registry import COMPARED, RIVALS

CONF = Path(__file__).parents[2] / "conf"
TUNED = [path.stem.partition("_")[2] for path in CONF.glob("tuned/parameters_*.yml")]
# Table 4: FedAvg's rate, alpha, beta; and the rounds.
TABLE4 = {
    "femnist": (0.0001, 0.001, 0.0001, 2000),
    "shakespeare": (0.001, 0.1, 0.01, 400),
    "sent140": (0.001, 0.001, 0.0001, 400),
}


def read(env: str, kind: str) -> dict[str, Any]:
    configure_project("fedmeta")
    args = settings.CONFIG_LOADER_ARGS
    return settings.CONFIG_LOADER_CLASS(str(CONF), env=env, **args)[kind]


def test_the_two_differ_in_the_algorithms_and_the_store_alone() -> None:
    paper, tuned = read("paper", "globals"), read("tuned", "globals")
    assert {k for k in paper if paper[k] != tuned[k]} == {"store"}
    assert sorted(TUNED) == ["femnist", "shakespeare"]
    paper, tuned = read("paper", "parameters"), read("tuned", "parameters")
    for name in TUNED:
        assert paper[name].keys() == tuned[name].keys()
        for preset in (paper, tuned):  # tuned, too
            preset[name]["training"].pop("iterate")
        same = paper[name].keys() - ALGORITHMS.keys()
        assert {k for k in same if paper[name][k] != tuned[name][k]} == set()
        assert same >= {"raw", "selection", "partition", "model", "training", "report"}


@pytest.mark.parametrize("name", TABLE4)
def test_the_papers_rates_are_those_of_its_table(name: str) -> None:
    blocks = read("paper", "parameters")[name]
    rate, alpha, beta, rounds = TABLE4[name]
    adam = {"name": "adam", "lr": rate}
    assert blocks["training"]["rounds"] == rounds
    assert (blocks["fedavg"]["local"], blocks["fedavg"]["epochs"]) == (adam, 1)
    tuning = blocks["fedavg_meta"]["fine_tuning"]
    assert (tuning["optimizer"], tuning["epochs"], tuning["batch_size"]) == (
        adam,
        1,
        10,
    )
    assert blocks["fedavg"]["batch_size"] == 10
    for method in ("maml", "fomaml", "meta_sgd"):
        own = blocks[method]
        assert own.get("inner_lr", own.get("alpha_init")) == alpha
        assert own["server"] == {"name": "adam", "lr": beta}
        assert own["plan"] == {"epochs": 1, "batch_size": None}


def test_readings_have_the_papers_rates() -> None:
    paper, readings = (
        read("paper", "parameters")[f"femnist{x}"] for x in ("", "_readings")
    )
    for name in ("fedavg", "maml", "meta_sgd"):
        own = readings[name]
        assert {k: v for k, v in own.items() if paper[name].get(k) != v}.keys() <= {
            "fine_tuning"
        }
    assert (
        readings["fedavg"]["fine_tuning"]["optimizer"]
        == (paper["fedavg_meta"]["fine_tuning"]["optimizer"])
    )


@pytest.mark.parametrize("name", ["femnist", "shakespeare"])
def test_each_side_is_tuned_with_as_many_configurations(name: str) -> None:
    """The first of which is Table 4's."""
    tuning = read("paper", "parameters")[f"{name}_tuning"]
    rate, alpha, beta, _ = TABLE4[name]
    tried = tuning["configurations"]
    assert {len(tried[k]) for k in tried} == {8}
    assert [rung["keep"] for rung in tuning["rungs"]] == [3, 2, 1]
    assert tried["fedavg"][0] == {"local": {"name": "adam", "lr": rate}}
    for method, option in (("maml", "inner_lr"), ("meta_sgd", "alpha_init")):
        wanted = {option: alpha, "server": {"name": "adam", "lr": beta}}
        assert tried[method][0] == wanted


def test_so_are_the_rivals() -> None:
    tuning = read("reduced", "parameters")["femnist_rivals_tuning"]
    assert {len(tried) for tried in tuning["configurations"].values()} == {8}
    assert tuning["configurations"].keys() == {*COMPARED, *RIVALS}
    rounds = read("reduced", "parameters")["femnist"]["training"]["rounds"]
    assert tuning["rungs"][-1] == {"rounds": rounds, "keep": 1}
