"""Node functions with some arguments fixed by the pipeline that uses them."""

import inspect
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any


def bind(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """``function`` with arguments fixed: its name, and a signature of the others.

    Kedro reads both: the name for the graph, the signature's annotations for typed
    parameters. Give such a node its inputs by name.
    """
    bound = update_wrapper(partial(function, **fixed), function)
    del bound.__wrapped__  # or Kedro sees the signature before anything was fixed
    signature = inspect.signature(function)
    free = [p for name, p in signature.parameters.items() if name not in fixed]
    bound.__signature__ = signature.replace(parameters=free)
    if hasattr(function, "check"):  # of its options: `fedmeta.pipelines.checks`
        bound.check = partial(function.check, **fixed)
    return bound
