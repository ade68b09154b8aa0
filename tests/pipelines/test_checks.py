"""Options of every model and algorithm are checked before the first node runs."""

import copy
from functools import cache
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from fedmeta.pipelines.checks import check_factories

CONF = Path(__file__).parents[2] / "conf"
MERGE = {"parameters": "soft", "globals": "soft"}


@cache
def loaded(env: str) -> dict:
    loader = OmegaConfigLoader(
        str(CONF), env=env, base_env="base", default_run_env=env, merge_strategy=MERGE
    )
    return loader["parameters"]


def parameters(env: str) -> dict:
    """A copy, to be made wrong."""
    return copy.deepcopy(loaded(env))


def below(parameters: dict, path: str) -> tuple[dict, str]:
    """The block that holds the last key of a dotted path, and that key."""
    *parents, last = path.split(".")
    for parent in parents:
        parameters = parameters[parent]
    return parameters, last


@pytest.mark.parametrize("env", ["base", "smoke", "paper", "reduced", "larger_steps"])
def test_parameters_of_every_environment_pass(env: str) -> None:
    check_factories(parameters(env))


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("maml.inner_lrr", 0.1, "femnist.maml: unknown option 'inner_lrr'"),
        ("maml.server.lrr", 0.1, "unknown option 'lrr'"),
        ("meta_sgd.alpha_init", "fast", "femnist.meta_sgd: option 'alpha_init"),
        ("fedavg_meta.fine_tuning.epoch", 1, "unknown option 'epoch'"),
        ("model.hiden", 8, "femnist.model: unknown option 'hiden'"),
        ("raw.sample.writer", 8, "femnist.raw.sample: unknown option 'writer'"),
        ("selection.min_record", 8, "femnist.selection: unknown option 'min_record'"),
        ("encoding.inverted", "maybe", "femnist.encoding: option 'inverted'"),
    ],
)
def test_a_wrong_option_is_named(path: str, value: object, told: str) -> None:
    wrong = parameters("smoke")
    block, last = below(wrong["femnist"], path)
    block[last] = value
    with pytest.raises(ValueError, match=told):
        check_factories(wrong)


def test_records_in_order_cannot_be_drawn_anew() -> None:
    wrong = parameters("smoke")
    wrong["femnist"]["training"]["resample"] = True
    check_factories(wrong)
    wrong["femnist"]["partition"]["strategy"] = "order"
    with pytest.raises(ValueError, match=r"femnist: training\.resample .* in order"):
        check_factories(wrong)


@pytest.mark.parametrize(
    ("block", "option", "told"),
    [
        ("meta_sgd_nn", "alpha", "recommendation.meta_sgd_nn: unknown option 'alpha'"),
        (
            "maml_lr",
            "inner_rate",
            "recommendation.maml_lr: unknown option 'inner_rate'",
        ),
        ("models", "cnn", "recommendation.models.cnn: expected a mapping"),
    ],
)
def test_blocks_of_the_recommendation_study(block: str, option: str, told: str) -> None:
    wrong = parameters("smoke")
    wrong["recommendation"][block][option] = 1
    with pytest.raises(ValueError, match=told):
        check_factories(wrong)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("femnist_perfedavg.hf_tau4.tau", 4, "unknown option 'tau'"),
        ("femnist_perfedavg.fedavg_tau10.steps", "ten", "option 'steps': .*'ten'"),
        ("femnist_perfedavg.exact_tau4.batches", "all", "'independent', 'reused'"),
        ("femnist_perfedavg.fo_tau10.weights", "size", "unknown weights 'size'"),
        ("femnist_perfedavg.model.channels", [2], "unknown option 'channels'"),
        ("femnist_nustep_skewed.nu5.nu", 5, "unknown option 'nu'"),
        ("femnist_nustep_writers.nu1.nu", 1, "unknown option 'nu'"),
        ("femnist_nustep_writers.model.hiden", 8, "unknown option 'hiden'"),
        ("femnist_personalized_fedavg.e20.steps_", 1, "unknown option 'steps_'"),
        ("femnist_personalized_fedavg.e2_reptile.epochs", 1, "unknown option 'epochs'"),
        ("femnist_personalized_fedavg.central.server", 1, "one of sgd, momentum"),
        ("femnist_readings.on_clients.local", {"size": 1}, "unknown option 'size'"),
        ("femnist_readings.resampled.resample", True, "unknown option 'resample'"),
        ("femnist_skewed.users.options.image", 4, "unknown option 'image'"),
        ("femnist_skewed.selection.profile", "full", "unknown option 'profile'"),
        ("femnist_skewed.encoding.inverted", "maybe", "option 'inverted'"),
        ("femnist_writers.selection.profil", "full", "unknown option 'profil'"),
    ],
)
def test_a_studys_block_is_named(path: str, value: object, told: str) -> None:
    wrong = parameters("smoke")
    block, last = below(wrong, path)
    block[last] = value
    home = path.rpartition(".")[0]
    with pytest.raises(ValueError, match=rf"^{home}: .*{told}") as error:
        check_factories(wrong)
    assert "\n" not in str(error.value)


def test_a_division_of_users_that_there_is_not() -> None:
    wrong = parameters("smoke")
    wrong["femnist_skewed"]["users"]["division"] = "two_kind"
    with pytest.raises(ValueError, match="one of two_kinds, dirichlet, not 'two_kind'"):
        check_factories(wrong)


def test_options_of_two_divisions_are_not_mixed() -> None:
    wrong = parameters("smoke")
    wrong["femnist_skewed"]["users"]["division"] = "dirichlet"
    told = "^femnist_skewed.users.options: .*unknown option 'images'; known are .*alpha"
    with pytest.raises(ValueError, match=told):
        check_factories(wrong)
