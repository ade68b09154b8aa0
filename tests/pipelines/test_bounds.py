"""Numbers that make no sense as an option are refused by name, before any work."""

import inspect
import math
from typing import get_args, get_type_hints

import pytest
from pydantic import ValidationError

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS, FineTuning, LocalSteps
from fedmeta.core.inner import Hessians, Plan
from fedmeta.core.optimizers import OPTIMIZERS
from fedmeta.data.repartition import DIVISIONS
from fedmeta.data.tasks import Episode
from fedmeta.options import check_algorithm, checked
from fedmeta.pipelines.options import PartitionOptions, ProbeOptions, TrainingOptions
from fedmeta.pipelines.studies.options import DistanceOptions

FACTORIES = {
    **OPTIMIZERS,
    **{name: entry.factory for name, entry in ALGORITHMS.items()},
    **{f"{n} model": b.model for n, b in BENCHMARKS.items()},
    **{f"{n} sample": b.write_sample for n, b in BENCHMARKS.items()},
    **{f"{n} selection": b.select_clients for n, b in BENCHMARKS.items()},
    **DIVISIONS,
    **{t.__name__: t for t in (FineTuning, LocalSteps, Hessians, Plan, Episode)},
}
SEEDS = [-1, 2**64, 2**70]
# Step sizes may be kept within a range below zero.
MAY_BE_NEGATIVE = {"alpha_range"}


def kinds(hint):
    """The plain types in an annotation."""
    if isinstance(hint, type):
        return {hint}
    return {kind for arg in get_args(hint) for kind in kinds(arg)}


def options_of(kind):
    """(factory, option) for every option of every factory that may be such a number."""
    found = []
    for name, factory in FACTORIES.items():
        function = getattr(factory, "func", factory)
        hints = get_type_hints(function, include_extras=True)
        taken = inspect.signature(factory).parameters
        found += [
            (name, option)
            for option in taken
            if kind in kinds(hints.get(option, str))
            and option not in getattr(factory, "keywords", ())
        ]
    return found


def refuses(name, option, value):
    factory = FACTORIES[name]
    first = next(iter(inspect.signature(factory).parameters))
    given = int(first in ("loss", "folder", "labels", "dataset", "records"))
    given = 0 if name in ("Episode", *OPTIMIZERS) else given
    with pytest.raises(ValueError, match=f"option '{option}"):
        checked(factory, {option: value}, name, given=given, whole=False)


@pytest.mark.parametrize("name, option", options_of(float))
def test_no_number_is_infinite_or_none(name, option):
    for bad in (math.nan, math.inf, -math.inf):
        refuses(name, option, bad)
        refuses(name, option, (0.1, bad))


@pytest.mark.parametrize("name, option", options_of(float))
def test_no_rate_and_no_share_is_negative(name, option):
    if option not in MAY_BE_NEGATIVE:
        refuses(name, option, -0.5)
        refuses(name, option, (-0.5, -0.5))


@pytest.mark.parametrize("name, option", options_of(int))
def test_no_count_is_negative(name, option):
    refuses(name, option, -1)
    refuses(name, option, (-1, -1))
    if option == "seed":
        refuses(name, option, 2**64)


@pytest.mark.parametrize("option", ["lr", "eps", "tau", "half_life"])
def test_optimizers_do_not_stand_still(option):
    for name, factory in OPTIMIZERS.items():
        if option in inspect.signature(factory).parameters:
            refuses(name, option, 0)


@pytest.mark.parametrize("option", ["b1", "b2", "momentum"])
def test_averages_forget(option):
    for name, factory in OPTIMIZERS.items():
        if option in inspect.signature(factory).parameters:
            refuses(name, option, 1)
            assert checked(factory, {option: 0}, name, whole=False) == {option: 0}


def test_an_error_deep_in_a_block_names_where():
    options = {"inner_lr": 0.1, "server": {"name": "adam", "lr": -1}}
    with pytest.raises(ValueError, match=r"femnist.maml: option 'server'.*adam.*'lr'"):
        check_algorithm("femnist.maml", "maml", options)
    options = {"alpha_init": (0.2, 0.1), "server": {"name": "adam", "lr": 1}}
    with pytest.raises(ValueError, match=r"femnist.meta_sgd: alpha_init \[0.2, 0.1\]"):
        check_algorithm("femnist.meta_sgd", "meta_sgd", options)
    good = {**options, "alpha_init": (0.0, 0.1), "alpha_range": (-1.0, 1.0)}
    check_algorithm("femnist.meta_sgd", "meta_sgd", good)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("block", [TrainingOptions, PartitionOptions, DistanceOptions])
def test_seeds_of_blocks(block, seed):
    with pytest.raises(ValidationError) as caught:
        block(seed=seed)
    assert ("seed",) in {error["loc"] for error in caught.value.errors()}
    fine = {error["loc"] for error in _errors(block, seed=2**64 - 1)}
    assert ("seed",) not in fine


def test_rates_of_blocks():
    for bad in (-1.0, math.nan, math.inf):
        assert {e["loc"] for e in _errors(ProbeOptions, inner_lr=bad)} == {
            ("inner_lr",)
        }
    assert ProbeOptions(inner_lr=0.0).inner_lr == 0  # no step


def _errors(block, **options):
    with pytest.raises(ValidationError) as caught:
        block(**options)
    return caught.value.errors()
