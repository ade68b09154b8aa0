"""Which cells of the grid are missing, and what to type to fill them."""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.reporting.report import flatten
from fedmeta.reporting.wording import label_of, percent
from fedmeta.reproduction.settings import NO_RESULT, OWN, VARIED
from fedmeta.studies.comparison import COMPARED, RIVALS

# Pipelines that train several algorithms, after a benchmark's name, the least first.
COMPARISONS = {"fedmeta": {*COMPARED}, "rivals": {*COMPARED, *RIVALS}}
SEEDS = 3  # a standard deviation of fewer says little
MissingCell = tuple[str, float, int]  # algorithm, support fraction, seed
CommandLine = tuple[str, str]  # what it fills, and what to type


class Given(NamedTuple):
    """Parameters of the runs that the configuration does not have."""

    typed: dict[str, str]  # what --params takes: dotted name -> value
    # what it does not, such as lists; these stand in conf/local
    written: dict[str, str]


NOTHING = Given({}, {})


def wanted_seeds(found: Iterable[int]) -> list[int]:
    """The seeds there are, filled up to `SEEDS` with the smallest others."""
    seeds = set(found)
    others = [number for number in range(SEEDS) if number not in seeds]
    return sorted([*seeds, *others[: max(SEEDS - len(seeds), 0)]])


def seed_words(seeds: Sequence[int]) -> str:
    """ "seed 0", "seeds 0, 1"."""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def commands(
    missing: Collection[MissingCell], benchmark: str, env: str, given: Given
) -> list[CommandLine]:
    """Lines that fill the cells, after what they fill; one where a sweep can fill all.

    Args:
        missing: of algorithms that this code does not know nothing can be said.
        env: Kedro's environment of the other runs.
        given: what those were given by --params.
    """
    lacking: dict[tuple[float, int], set[str]] = {}
    for algorithm, p, seed in missing:
        if algorithm in ALGORITHMS:
            lacking.setdefault((p, seed), set()).add(algorithm)
    # pipeline -> fraction -> seeds
    plans: dict[str, dict[float, list[int]]] = {}
    for (p, seed), algorithms in sorted(lacking.items()):
        # What the others have trained already is not trained again.
        whole = [name for name, of in COMPARISONS.items() if algorithms <= of]
        several = len(algorithms) > 1 and whole
        for which in whole[:1] if several else sorted(algorithms):
            plans.setdefault(which, {}).setdefault(p, []).append(seed)
    found = []
    for which, seeds_at in plans.items():
        for seeds in dict.fromkeys(map(tuple, seeds_at.values())):
            fractions = [p for p, own in seeds_at.items() if tuple(own) == seeds]
            axes = {"support_fraction": fractions, "seed": seeds}
            who = "all algorithms" if which in COMPARISONS else label_of(which)
            at = ", ".join(map(percent, fractions))
            line = command_line(f"{benchmark}_{which}", env, axes, given)
            found.append((f"{who}: {at} support, {seed_words(seeds)}", line))
    return found


def command_line(
    pipeline: str, env: str, axes: Mapping[str, Sequence[Any]], given: Given
) -> str:
    """`kedro run` for one cell, `kedro sweep` for more.

    Args:
        env: "local" is what Kedro takes if not told otherwise.
        axes: values by parameter; their product is run.
        given: parameters of every cell.
    """
    values = {
        **{name: ",".join(map(str, some)) for name, some in axes.items()},
        **given.typed,
    }
    pairs = [f"{name}={value}" for name, value in values.items()]
    single = all(len(some) == 1 for some in axes.values())
    words = ["kedro run" if single else "kedro sweep", f"--pipeline {pipeline}"]
    words += [f"--env {env}"] if env != "local" else []
    params = [",".join(pairs)] if single else pairs
    words += [f"--params {shlex.quote(each)}" for each in params]
    return " ".join(words)


def given_parameters(
    recorded: Mapping[str, Mapping[str, str]],
    configured: Mapping[str, Any],
    benchmark: str,
) -> Given:
    """What the runs were told beyond the configuration, in the names of --params.

    Args:
        recorded: parameters of a run of each algorithm, as MLflow has them.
        configured: the benchmark's parameters as they are in the files now; empty where
            they are not known, and then nothing is found.
    """
    plain = flatten(configured)
    typed: dict[str, str] = {}
    written: dict[str, str] = {}
    for algorithm, parameters in recorded.items() if configured else ():
        for name, value in parameters.items():
            key = _key(name, algorithm, plain)
            if name in VARIED | NO_RESULT or plain.get(key) == value:
                continue
            if not _is_option(key, plain):
                continue  # of an older version: Kedro would refuse it
            # Kedro splits at commas, and a sweep takes no list.
            kind = written if "," in value or value.startswith("[") else typed
            kind[f"{benchmark}.{key}"] = "null" if value == "None" else value
    return Given(typed, written)


def _key(name: str, algorithm: str, plain: Mapping[str, str]) -> str:
    """The name in the configuration of what MLflow calls "algorithm.<option>"."""
    if not name.startswith(OWN):
        return name
    option, entry = name.removeprefix(OWN), ALGORITHMS.get(algorithm)
    shared = f"{entry.trained_as if entry else None}.{option}"
    own = f"{algorithm}.{option}"
    return shared if shared in plain and own not in plain else own


def _is_option(key: str, plain: Mapping[str, str]) -> bool:
    """Whether the configuration has the key, or may have keys like it.

    Below what is null anything may stand, and beside a name what the name takes; a
    block may be null instead.
    """
    above = [key[:i] for i, character in enumerate(key) if character == "."]
    return (
        key in plain
        or any(plain.get(name) == "None" for name in above)
        or f"{key.rpartition('.')[0]}.name" in plain
        or any(known.startswith(f"{key}.") for known in plain)
    )
