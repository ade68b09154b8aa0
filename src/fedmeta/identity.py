"""What decides a result: its settings, its data and the code that computes it.

Packed data, checkpoints, histories, scores, cells of a sweep, reports and tracking ask
this module whether two pieces of work are the same. It knows standard Python only.

*Settings* are one flat mapping of dotted names to JSON values: options such as
``training.seed``, checksums such as ``data.records``, and a hash for each module that
computes, such as ``code.core.optimizers``. Equal settings give the same bits on the
same machine. What can change those bits in the last digits only, or not at all, is
recorded beside them (`environment`) and decides nothing.
"""

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fedmeta.syntax import read_module

Settings = dict[str, Any]  # dotted name -> JSON value

# How long a training went on: no part of its own identity, since it is resumed, but of
# what comes of it.
ROUNDS = "training.rounds"
# Options of a round loop that change no result: where and how it is computed, how often
# and on whom it is judged.
NON_RESULT_OPTIONS = frozenset(
    {
        "backend",
        "chunk",
        "clients_at_once",
        "device",
        "evaluate_every",
        "evaluation_clients",
        "scheduler",
        "support_fractions",
    }
)
# Options of a model that change no result, but which metrics are recorded beside it.
METRIC_OPTIONS = frozenset({"top"})
# Options that were added later, at the value that what was made before them was made
# with: that says nothing.
AS_BEFORE = {"precision": "float32"}  # of femnist_cnn
NULL = (None, "None")  # the latter is MLflow's
CODE = "code"  # the block of hashes of modules
ROUND_LOOP = "clients_per_round"  # the option that tells such a block from others

PACKAGE = Path(__file__).parent
# Modules that compute no result, with those below them. Neither they nor what only they
# import is part of any version, so that a change there retrains and repacks nothing.
NEUTRAL = (
    "cli",
    "display",
    "estimates",
    "hooks",
    "identity",
    "late",
    "pipeline_registry",
    "reporting",
    "reproduction",
    "runtime",
    "serving",
    "session",
    "settings",
    "space",
    "studies",
    "sweep",
    "syntax",
    "tracking",
    "benchmarks.benchmark",  # types
    "core.allocator",
    "data.errors",
    "data.files",
    "data.remote",
    "data.seal",
    "data.statistics",  # Table 1
    "data.tensors",
    "checkpoints",
    "datasets",  # reading and writing, held to checksums
    "figure_dataset",
    "pipelines.binding",
    "pipelines.checks",
    "pipelines.divergence",  # words and marks
    "option_errors",
    "pipelines.progress",
    "pipelines.training.remote",
    "pipelines.reporting",
)
# Tables of names: what a name stands for is a root of its own, so that a new line of
# the table changes the version of no other. Modules below them do compute.
TABLES = ("benchmarks.registry", "core.algorithms")
# Hash of a module as it is -> as it was before a refactoring that changes no number;
# "": a module that was split off another. Each line names the test that shows the same
# bits. Without a line, changed code means other results.
EQUIVALENT: dict[str, str] = {
    # What was refused is read, what was read is read as before:
    # tests/benchmarks/recommendation/test_recommendation_log.py
    "dbe13da15527ce57": "fe00b7368ae441bb",  # benchmarks.recommendation.values
    "50413062529281fc": "4263080d3a99bb2b",  # data.tables
    # Layers that fine-tuning does not find are refused, where some or none were tuned:
    # tests/core/test_algorithms.py
    "c2d72828a5b0e39c": "5961da45d2ff471a",  # core.algorithms.fedavg
    # A layer has the parameters of those below it, which no network here has:
    # tests/core/test_algorithms.py
    "ebec92fdc5ba7bb9": "caae4fdd2f6779ed",  # core.algorithms.common
    "88ea3ad848728154": "71bf8063b46a870b",  # core.algorithms.anil
    # A class that the model does not have is refused in words:
    # tests/models/test_modules.py
    "cda39f1671c9f5ee": "c231e33f8f28987c",  # core.model
    # A row is put together in one place: tests/core/test_evaluation.py
    "c9432118d592915f": "d02d7ccbd6b4ee4f",  # core.evaluation
    # The rate of a round is asked for in one place, a padded step undone in one:
    # tests/core/test_optimizers.py
    "41e9655231d0a00f": "bc568cb56f70c382",  # core.optimizers
    # Files are found as before, in one function: tests/benchmarks
    "66e134c0a4ad1feb": "46964453a0f6cdec",  # benchmarks.recommendation.parse
    "36c68987ae677463": "1c64b5ab9f45537e",  # benchmarks.sent140.parse
    "f9d3506b43cf0b23": "ee126380c53cbb70",  # benchmarks.shakespeare.parse
    "934e6d3950f9f451": "8ad38f139b5b4cdd",  # benchmarks.table.parse
    # A file's bytes are looked at as a whole: tests/benchmarks/sent140
    "7faf35c769ea8eb2": "3d292863a55c4a10",  # benchmarks.sent140.stanford
    # What was made is checked by the catalog alone: tests/data/test_partition.py
    "ad3f56e990254f32": "5831b11863bfa3d7",  # data.partition
    # Clients are selected as before, options are refused by their types:
    # tests/benchmarks/femnist/test_profiles.py, tests/benchmarks/shakespeare
    "46d1630ea458e844": "f6f6e66fd5bb6b3c",  # benchmarks.femnist.profiles
    "460a658e5fe04533": "db78d2f2653d932f",  # benchmarks.shakespeare.profiles
    # Bounds are annotated-types', parameters pass through fewer hands:
    # tests/pipelines and the golden files of tools/smoke.py
    "d744998d6576da0f": "216a6cefe87c19c0",  # core.bounds
    "cd752c1205338cff": "c16355437248284b",  # options
    "1580d04918d72d2b": "77f1ec5bf3337e13",  # pipelines.evaluation.nodes
    "25a4205c44ec8547": "88e549a47a031b23",  # pipelines.federation.nodes
    "b789a969dca45df2": "34782ee5e62e9008",  # pipelines.ingestion.nodes
    "570994c5a13dd4c2": "65f8bab3781ff077",  # pipelines.options
    "cdf663dc8d66e47d": "811568aaf5bcb1bb",  # pipelines.preparation.nodes
    "e3b7c1cef1992fd4": "fea6d9b6c22e50ca",  # pipelines.recommendation.nodes
    "e3bbe9a7d0ed14e2": "1010e297d0ed01ca",  # pipelines.recommendation.options
    "fe682d37b3726786": "71f8346a7d0eba37",  # pipelines.recommendation.unified
    "09586591a3565305": "7cb422c40fd0f79f",  # pipelines.studies.halving
    "fbbeba1768760742": "53c68813f573975b",  # pipelines.studies.nodes
    "7246e1a1ae8ab976": "8d01a606e040bf4d",  # pipelines.studies.options
    "2aac31da6bf0df0c": "018b88be30968b04",  # pipelines.training.curves
    "63fbccc2e1e77472": "80447653e08f3d2c",  # pipelines.training.keeping
    "2efd7cf2eb47ac51": "9326485168f104d4",  # pipelines.training.nodes
    "0deb875d76522dd9": "5e190f8c33e01618",  # pipelines.training.resuming
    "f9598d15bb2c06e2": "bcce9a1e0274c675",  # pipelines.training.setup
}


def settings(**blocks: Any) -> Settings:
    """Flat settings of blocks of options, without options that affect no result.

    A block is a mapping, or a model of pydantic's.

    >>> settings(training={"seed": 0, "clients_per_round": 4, "device": "cpu"})
    {'training.seed': 0, 'training.clients_per_round': 4}
    """
    return dict(_flat(json.loads(json.dumps(blocks, default=_plain_value)), ""))


def _plain_value(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else str(value)


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or (name and not value):
        yield name, value
        return
    ignored = NON_RESULT_OPTIONS if ROUND_LOOP in value else METRIC_OPTIONS
    for key, below in value.items():
        if key not in ignored and not (key in AS_BEFORE and below == AS_BEFORE[key]):
            yield from _flat(below, f"{name}.{key}" if name else key)


def fingerprint(of: Mapping[str, Any]) -> str:
    """SHA-256 of settings, independent of their order."""
    text = json.dumps(of, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the settings that two have with different values, or only one has."""
    names = dict.fromkeys([*wanted, *found])
    alone = [n for n in names if n not in found.keys() & wanted.keys()]
    return list(dict.fromkeys([*alone, *conflicts(found, wanted)]))


def conflicts(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the settings that two have with different values.

    Also of those below an option that is null in the other.

    >>> conflicts({"training.privacy": None}, {"training.privacy.clip": 1.0})
    ['training.privacy.clip']
    """
    return [n for n in wanted if n in found and found[n] != wanted[n]] + [
        name
        for one, other in ((wanted, found), (found, wanted))
        for name in one
        if name not in other and _is_in_null(name, other)
    ]


def apart(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the settings in which two results differ that may have other blocks.

    `conflicts`, and options that only one has of a block that both have: an option with
    a default is there only where it was given.

    >>> apart({"maml.lr": 1, "training.seed": 0}, {"maml.lr": 1, "maml.half_life": 5})
    ['maml.half_life']
    """
    blocks = [{name.partition(".")[0] for name in each} for each in (found, wanted)]
    shared = (blocks[0] & blocks[1]) - {CODE, "data"}
    both = found.keys() & wanted.keys()
    names = differences(found, wanted)
    return [n for n in names if n in both or n.partition(".")[0] in shared]


def _is_in_null(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether an option that has this one below it is null in the settings."""
    block, *below = name.split(".")
    above = [".".join([block, *below[:n]]) for n in range(1, len(below))]
    return any(settings.get(option, name) in NULL for option in above)


def nearest(
    found: Iterable[Mapping[str, Any]], wanted: Mapping[str, Any]
) -> tuple[list[str], Mapping[str, Any]]:
    """Return the names that the nearest settings differ in, and these settings.

    The first of equally near ones; empty if none are found.
    """
    pairs = [(differences(one, wanted), one) for one in found]
    return min(pairs, key=lambda pair: len(pair[0]), default=([], {}))


def in_words(
    names: Iterable[str], found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> str:
    """Describe differences of settings in one line.

    >>> in_words(["maml.inner_lr"], {"maml.inner_lr": 0.5}, {"maml.inner_lr": 0.05})
    'maml.inner_lr=0.5 instead of 0.05'
    >>> in_words(["code.core.optimizers", "data.client_split"], {}, {})
    'other data (client_split), other code (core/optimizers.py)'
    """
    options, data, code = [], [], []
    for name in names:
        kind, _, rest = name.partition(".")
        if kind == CODE:
            code.append(f"{rest.replace('.', '/')}.py")
        elif kind == "data":
            data.append(rest)
        elif name not in found:
            options.append(f"no {name}")
        else:
            instead = f" instead of {_text(wanted[name])}" if name in wanted else ""
            options.append(f"{name}={_text(found[name])}{instead}")
    return ", ".join(
        [
            *options,
            *([f"other data ({', '.join(data)})"] if data else []),
            *([f"other code ({', '.join(code)})"] if code else []),
        ]
    )


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def refuse_mixed(results: Mapping[str, Mapping[str, Any]], remedy: str) -> None:
    """Refuse to compare results that differ in a setting that they share.

    Settings that only one of two results has, such as the options of an algorithm under
    its own name, are what is compared.

    Args:
        results: settings of each result by the name to be told.
        remedy: what to do, told at the end.

    Raises:
        ValueError: naming the results that differ from most, and in which settings.
    """
    held_by: dict[str, list[str]] = {}
    for held in results.values():
        for name, value in held.items():
            held_by.setdefault(name, []).append(json.dumps(value))
    most: Settings = {}
    for name, values in sorted(held_by.items(), key=lambda pair: -len(pair[1])):
        usual = {name: json.loads(Counter(values).most_common(1)[0][0])}
        if not conflicts(usual, most):
            most |= usual
    odd: dict[str, list[str]] = {}
    for result, held in results.items():
        if names := conflicts(held, most):
            odd.setdefault(in_words(names, held, most), []).append(result)
    if odd:
        told = "; ".join(
            f"{', '.join(who)} {'was' if len(who) == 1 else 'were'} made with {words}"
            for words, who in odd.items()
        )
        raise ValueError(f"these results cannot be compared: {told}; {remedy}")


def environment() -> dict[str, str]:
    """Versions and hardware: recorded with results, but not part of their identity."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy")},
        "processor": _processor(),
        "threads": os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1),
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.partition(": ")[2] for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):  # another system than Linux, or another processor
        return platform.processor() or platform.machine()


def code(*roots: Any, package: Path = PACKAGE) -> Settings:
    """Hashes of the modules that functions are computed by, under ``code.<module>``.

    These are the functions' own modules and all that those import of the package, also
    within functions. The hash of a module is that of its syntax tree, without
    docstrings, comments, log calls and the texts of errors.

    Args:
        roots: functions (partials too), or names of modules below the package.
        package: its folder.
    """
    wanted = [module_of(root) for root in roots]
    found: Settings = {}
    while wanted:
        name = wanted.pop()
        if name in found or _is_neutral(name):
            continue
        found[name], imported = read_module(name, package)
        wanted += imported
    hashes = {name: equivalent(found[name]) for name in sorted(found)}
    return {f"{CODE}.{name}": hash_ for name, hash_ in hashes.items() if hash_}


def named(function: Callable[..., Any]) -> Settings:
    """A function as settings: its name, and what a partial has fixed.

    >>> named(partial(settings, a=1))
    {'function': 'identity.settings', 'a': 1}
    """
    fixed: Settings = {}
    while isinstance(function, partial):
        fixed = {**function.keywords, **fixed}
        function = function.func
    return {"function": f"{module_of(function)}.{function.__qualname__}", **fixed}


def module_of(root: Any) -> str:
    """The module of a function, below its package."""
    while isinstance(root, partial):
        root = root.func
    return root if isinstance(root, str) else root.__module__.partition(".")[2]


def equivalent(hash_: str) -> str:
    """Resolve a module's hash by `EQUIVALENT`."""
    while hash_ in EQUIVALENT:
        hash_ = EQUIVALENT[hash_]
    return hash_


def _is_neutral(name: str) -> bool:
    below = any(name == n or name.startswith(f"{n}.") for n in NEUTRAL)
    return below or name in TABLES
