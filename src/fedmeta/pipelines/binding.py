"""Nodes: some arguments of a function are fixed, others are read by their names."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Node

from fedmeta.configuration import PARAMETERS
from fedmeta.pipelines.data import Data

# Arguments that are datasets of their name. Others are blocks of options of theirs.
DATASETS = ("raw_files", *Data._fields)
# Arguments of type `Data` -> the datasets that they are made of.
GATHERED = {
    "data": Data._fields,
    "undivided": tuple(n for n in Data._fields if n != "support_query"),
}


def node(
    function: Callable[..., Any],
    outputs: str | list[str],
    home: str,
    namespace: str,
    inputs: Mapping[str, str] = {},
    *,
    data: str = "",
    name: str = "",
) -> Node:
    """A node whose inputs follow from the names of its function's arguments.

    Args:
        function: perhaps of `bind`. Only ``inputs`` have arguments with defaults.
        outputs: datasets.
        home: under which name its options are.
        namespace: of the node.
        inputs: by argument, those that are called otherwise.
        data: under which name the data are, and how they are partitioned; "": home.
        name: what it does, before its home; "": the function's.
    """
    found = {}
    for argument, parameter in inspect.signature(function).parameters.items():
        if (
            parameter.default is parameter.empty
            and parameter.kind != parameter.VAR_KEYWORD
        ):
            mark = "" if argument in DATASETS else PARAMETERS
            of_data = argument in (*DATASETS, "partition")
            found[argument] = f"{mark}{of_data and data or home}.{argument}"
    name = f"{name or function.__name__}_{home}"
    return Node(function, {**found, **inputs}, outputs, name=name, namespace=namespace)


def bind(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """``function`` with arguments fixed: its name, and a signature of the others.

    Kedro reads both: the name for the graph, the signature's annotations for typed
    parameters. Give such a node its inputs by name. It is a function, of which
    Kedro-Viz shows the source, where it would show none of a `functools.partial`; as
    in one, what is fixed is in ``keywords``.

    An argument of `GATHERED` is put together from its datasets, which are arguments in
    its place. The chunks of a generator are let go once Kedro has saved them.
    """

    def call(**inputs: Any) -> Any:
        for name in GATHERED.keys() & signature.parameters.keys():
            parts = {part: inputs.pop(part) for part in GATHERED[name]}
            inputs[name] = Data(**{"support_query": None, **parts})
        return function(**fixed, **inputs)

    def generate(**inputs: Any) -> Iterator[Any]:
        for chunk in call(**inputs):
            yield _Outputs(chunk) if isinstance(chunk, tuple) else chunk

    bound: Any = generate if inspect.isgeneratorfunction(function) else call
    bound = update_wrapper(bound, function)
    signature = inspect.signature(function)
    free = [
        parameter.replace(name=part)
        for name, parameter in signature.parameters.items()
        if name not in fixed
        for part in GATHERED.get(name, [name])
    ]
    bound.__signature__ = signature.replace(parameters=free)
    bound.keywords = fixed
    if hasattr(function, "check"):  # of its options: `fedmeta.pipelines.checks`
        bound.check = partial(function.check, **fixed)
    return bound


class _Outputs(list):
    """Outputs of a node that are each given away when they are asked for.

    To save one output after the other, Kedro splits a generator of chunks by
    `itertools.tee`, which keeps up to 57 of them: of checkpoints, gigabytes.
    """

    def __getitem__(self, place: Any) -> Any:
        value = super().__getitem__(place)
        self[place] = None
        return value
