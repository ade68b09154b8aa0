"""A grid of parameters, as the options of a command spell it."""

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from yaml import YAMLError

from fedmeta.configuration import Source

CellParams = dict[str, str]  # parameters of one cell by dotted name, as they were typed

# What a training that does not depend on the support fraction is told of, so that it is
# trained under one and found under the others; and what that is told by.
FRACTION, WATCHED = "support_fraction", "support_fractions"


class GridAxis(NamedTuple):
    """One parameter and the values that it takes."""

    name: str  # dotted, as in `kedro run --params`
    values: tuple[str, ...]  # as they were typed


def parse_axis(text: str) -> GridAxis:
    """An axis from NAME=V1,V2,...

    Raises:
        ValueError: for another form, or a value that stands there twice.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    values = tuple(value.strip() for value in rest.split(","))
    if not equals or not name or not all(values):
        raise ValueError(f"{text!r}: expected NAME=VALUE,VALUE,...")
    if "=" in rest:
        raise ValueError(
            f"{text!r}: one parameter at a time, as --params a=1,2 --params b=3"
        )
    if any(value[0] in "[{" for value in values):
        raise ValueError(
            f"{text!r}: no lists or mappings here; put them into a conf folder (--env)"
        )
    seen: dict[str, str] = {}
    for value in values:
        try:
            meant = json.dumps(nested({name: value}), default=str)
        except YAMLError as error:
            raise ValueError(f"{text!r}: {value} is no YAML ({error})") from None
        if meant in seen:
            raise ValueError(f"{text!r}: {seen[meant]} and {value} are the same")
        seen[meant] = value
    return GridAxis(name, values)


def grid(axes: Iterable[GridAxis]) -> list[CellParams]:
    """Every combination of values, the first axis slowest.

    Raises:
        ValueError: for two axes of one name, and one for a part of another.
    """
    axes = list(axes)
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is given twice; join them: {name}=V1,V2")
        if part := next((n for n in names if n.startswith(f"{name}.")), None):
            raise ValueError(f"{part} is a part of {name}; give one of them")
    given = [v for axis in axes if axis.name == FRACTION for v in axis.values]
    # An impossible one fails in its own cell, and in no other.
    fractions = [value for value in given if _is_fraction(value)]
    watched = {WATCHED: f"[{','.join(fractions)}]"} if len(fractions) > 1 else {}
    return [
        dict(zip(names, values, strict=True)) | watched
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def _is_fraction(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a cell, without those that the sweep adds."""
    return {name: value for name, value in given.items() if name != WATCHED}


def nested(given: Mapping[str, str]) -> dict[str, Any]:
    """Runtime parameters, typed as Kedro's own `--params` are."""
    pairs = [f"{name}={value}" for name, value in given.items()]
    found: Any = OmegaConf.to_container(OmegaConf.from_dotlist(pairs))
    return found


def label(given: Mapping[str, str]) -> str:
    """One-line label of a cell."""
    return (
        " ".join(f"{name}={value}" for name, value in typed(given).items())
        or "defaults"
    )


def run_command(pipeline: str, source: Source, given: Mapping[str, str]) -> str:
    """The `kedro run` command that is equivalent to a cell."""
    pairs = (f"{name}={value}" for name, value in typed(given).items())
    return source.command(pipeline, ",".join(pairs))
