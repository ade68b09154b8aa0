"""Checks of options before any node runs.

The options of models, algorithms and parsers are the arguments of their factories.
`CHECKS` has those that a node's argument of one name always holds; where more is to be
said of a node, `checked_by` ties a function to it. Only what a pipeline reads is
checked, so that an unfinished block of one benchmark stops no other.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.configuration import PARAMETERS, Block, blocks_read, check_paths, value_of
from fedmeta.core.algorithms import ALGORITHMS, options_of
from fedmeta.data.partition import AUTO
from fedmeta.data.repartition import DIVISIONS
from fedmeta.options import check_algorithm, checked
from fedmeta.pipelines.options import RawOptions


def checked_by(check: Callable[..., None]) -> Callable[[Callable], Callable]:
    """Tie a check to the function of a node.

    It is called with what `bind` fixes and, by the same argument names, with the
    node's parameters, each a `Block`.
    """

    def tie(function: Callable) -> Callable:
        function.check = check  # type: ignore[attr-defined]
        return function

    return tie


def check_pipeline(
    pipeline: Pipeline, parameters: Mapping[str, Any], named: Mapping[str, Any]
) -> None:
    """Refuse what a pipeline cannot run with.

    Args:
        pipeline: that is about to run.
        parameters: all parameters, by benchmark or study and block.
        named: the globals, which folders are named by.

    Raises:
        ValueError: for a block that is missing, an unknown option, a wrong type, or an
            option that contradicts a folder's name.
    """
    inputs = sorted(n for n in pipeline.inputs() if n.startswith(PARAMETERS))
    names = [name.removeprefix(PARAMETERS) for name in inputs]
    check_paths({name: value_of(parameters, name) for name in names}, named)
    for node in pipeline.nodes:
        blocks = blocks_read(node, parameters)
        benchmark = getattr(node.func, "keywords", {}).get("benchmark")
        for argument, check in CHECKS.items():
            if benchmark is not None and argument in blocks:
                check(benchmark, blocks[argument])
        if (own_check := getattr(node.func, "check", None)) is not None:
            own_check(**blocks)


def check_raw(benchmark: Benchmark, raw: Block) -> None:
    """Options of the benchmark's sample and parser.

    Raises:
        ValueError: naming all that has to be given and is not, too.
    """
    name, options = raw
    parse = {k: v for k, v in options.items() if k not in RawOptions.model_fields}
    taken = list(inspect.signature(benchmark.parse).parameters.values())[1:]
    needed = ["folder", *(p.name for p in taken if p.default is p.empty)]
    absent = [key for key in needed if options.get(key) is None]
    if absent:
        example = ",".join(f"{name}.{key}={key.upper()}" for key in absent)
        raise ValueError(
            f"{name}: {', '.join(absent)} must be given; add --params {example}, or"
            " write them into a parameters file"
        )
    sample = options.get("sample") or {}
    checked(benchmark.write_sample, sample, f"{name}.sample", given=1)
    checked(benchmark.parse, parse, name, given=1)


def check_selection(benchmark: Benchmark, selection: Block) -> None:
    """Options of the choice of clients."""
    checked(benchmark.select_clients, selection.options, selection.name, given=1)


def check_encoding(benchmark: Benchmark, encoding: Block) -> None:
    """Options of the codebook."""
    checked(benchmark.codebook, encoding.options, encoding.name, given=2)


def check_model(benchmark: Benchmark, model: Block) -> None:
    """Options of the model; the data decide the rest of its factory's arguments."""
    checked(benchmark.model, model.options, model.name, whole=False)


def check_users(benchmark: Benchmark, users: Block) -> None:
    """Options of the division of records among new users."""
    name, options = users
    division = DIVISIONS[options["division"]]
    checked(division, options["options"], f"{name}.options", given=1)


CHECKS: dict[str, Callable[[Benchmark, Block], None]] = {
    "raw": check_raw,
    "selection": check_selection,
    "encoding": check_encoding,
    "model": check_model,
    "users": check_users,
}


def check_algorithms(
    names: list[str],
    training: Block,
    partition: Block | None = None,
    **others: Any,
) -> None:
    """Options of the algorithms that one training serves."""
    if (
        partition is not None
        and training.options.get("resample")
        and (strategy := partition.options.get("strategy")) in ("order", AUTO)
    ):
        raise ValueError(
            f"{training.name}.resample draws support and query at random, and"
            f" {partition.name}.strategy {strategy!r} keeps records in order; change"
            " one of them"
        )
    blocks = mappings(others)
    own = Block(others[names[0]].name, options_of(names[0], blocks))
    check_private(names[0], training, own)
    for algorithm in names:
        check_algorithm(
            others[algorithm].name, algorithm, options_of(algorithm, blocks)
        )


def mappings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of each block among the arguments of a check.

    Raises:
        ValueError: for a block that is no mapping.
    """
    blocks = {name: block for name, block in given.items() if isinstance(block, Block)}
    for name, options in blocks.values():
        if not isinstance(options, dict):
            raise ValueError(f"{name}: expected a mapping of options, not {options!r}")
    return {argument: block.options for argument, block in blocks.items()}


def check_private(algorithm: str, training: Block, own: Block) -> None:
    """Refuse what differential privacy, where asked for, cannot be accounted for.

    Args:
        algorithm: that is trained.
        training: its round loop.
        own: all of its options.
    """
    if not training.options.get("privacy"):
        return
    what, before = f"{training.name}.privacy", ALGORITHMS[algorithm].after
    if find_spec("opacus") is None:
        raise ValueError(f"{what} needs opacus: pip install opacus")
    if (weights := own.options.get("weights", "uniform")) != "uniform":
        raise ValueError(
            f"{what} makes all clients count the same, and {own.name} has weights:"
            f" {weights}; set them to uniform"
        )
    if before:
        raise ValueError(
            f"{what} counts the rounds of one training, and {algorithm} starts from"
            f" {before}'s; set it to null"
        )
