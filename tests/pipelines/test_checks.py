"""Options of every model and algorithm are checked before the first node runs."""

import copy
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from fedmeta.pipelines.checks import check_factories

CONF = Path(__file__).parents[2] / "conf"
MERGE = {"parameters": "soft", "globals": "soft"}


def parameters(env: str) -> dict:
    loader = OmegaConfigLoader(
        str(CONF), env=env, base_env="base", default_run_env=env, merge_strategy=MERGE
    )
    return loader["parameters"]


@pytest.mark.parametrize("env", ["base", "smoke", "paper", "reduced"])
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
    wrong = copy.deepcopy(parameters("smoke"))
    *parents, last = path.split(".")
    block = wrong["femnist"]
    for parent in parents:
        block = block[parent]
    block[last] = value
    with pytest.raises(ValueError, match=told):
        check_factories(wrong)


def test_records_in_order_cannot_be_drawn_anew() -> None:
    wrong = copy.deepcopy(parameters("smoke"))
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
    wrong = copy.deepcopy(parameters("smoke"))
    wrong["recommendation"][block][option] = 1
    with pytest.raises(ValueError, match=told):
        check_factories(wrong)
