"""Node functions with some arguments fixed by the pipeline that uses them."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial, update_wrapper
from typing import Any


def bind(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """``function`` with arguments fixed: its name, and a signature of the others.

    Kedro reads both: the name for the graph, the signature's annotations for typed
    parameters. Give such a node its inputs by name. It is a function, of which
    Kedro-Viz shows the source, where it would show none of a `functools.partial`; as
    in one, what is fixed is in ``keywords``.

    The chunks of a generator are let go once Kedro has saved them.
    """

    def call(**inputs: Any) -> Any:
        return function(**fixed, **inputs)

    def generate(**inputs: Any) -> Iterator[Any]:
        for chunk in function(**fixed, **inputs):
            yield _Outputs(chunk) if isinstance(chunk, tuple) else chunk

    bound: Any = generate if inspect.isgeneratorfunction(function) else call
    bound = update_wrapper(bound, function)
    signature = inspect.signature(function)
    free = [p for name, p in signature.parameters.items() if name not in fixed]
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
