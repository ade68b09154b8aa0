"""Readings of the paper: each is one change of what this project took."""

from pathlib import Path

import pytest
from kedro.framework.project import configure_project, settings

from fedmeta.configuration import Loader
from fedmeta.studies import readings
from fedmeta.studies.readings import READINGS

ROOT = Path(__file__).parents[2]
# What differs from the first reading of the same algorithm, if there is one before it.
CHANGES = {
    "fedavg_slow": {"local", "fine_tuning"},
    "fedavg_batches": {"batch_size"},
    "no_adam": {"server"},
    "on_clients": {"server", "local"},
    "uniform": {"weights"},
    "query": {"weights"},
    "five_steps": {"plan"},
    "batches": {"plan"},
    "five_epochs": {"plan"},
    "resampled": set(),
    "uniform_alpha": {"alpha_init"},
}


def blocks(env):
    configure_project("fedmeta")
    loader = Loader(str(ROOT / "conf"), env=env, **settings.CONFIG_LOADER_ARGS)
    return loader["parameters"][readings.HOME]


@pytest.mark.parametrize("env", ["local", "reduced", "paper", "smoke"])
def test_a_reading_differs_in_what_it_is_about(env):
    options = blocks(env)
    taken, changes = {}, {}
    for name, (algorithm, *_) in READINGS.items():
        first = taken.setdefault(algorithm, options[name])
        if options[name] is not first:
            changes[name] = {k for k in first if options[name].get(k) != first[k]}
            assert options[name].keys() <= first.keys()
    assert changes == CHANGES


@pytest.mark.parametrize("env", ["local", "reduced", "paper", "smoke"])
def test_only_records_drawn_anew_have_another_round_loop(env):
    options = blocks(env)
    assert options["drawn_anew"] == {**options["training"], "resample": True}
    loops = {n: v.training for n, v in readings.EXPERIMENT.variants.items()}
    assert loops.pop("resampled") == "drawn_anew"
    assert set(loops.values()) == {"training"}
