"""Options as typed arguments: a misspelt key or a wrong type stops before work starts.

The options of an algorithm and of a model are the arguments of its factory. Their
schema is read off the factory's signature, so that nothing is declared twice.
"""

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import ConfigDict, PlainValidator, ValidationError, create_model
from torch import Tensor

from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.core.compression import COMPRESSIONS, Compression
from fedmeta.core.gradients import Loss
from fedmeta.core.optimizers import OPTIMIZERS, Optimizer
from fedmeta.core.types import Algorithm
from fedmeta.option_errors import in_words

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def build_algorithm(name: str, loss: Loss, options: dict[str, Any]) -> Algorithm:
    """The algorithm of that name in `ALGORITHMS`, from its block of parameters.

    Raises:
        ValueError: for an unknown name or option, or a wrong type.
    """
    if name not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise ValueError(f"unknown algorithm {name!r}; one of {known}")
    return build(ALGORITHMS[name].factory, options, name, loss)


def build(factory: Callable[..., T], options: Any, what: str, *args: Any) -> T:
    """Call ``factory`` with options checked against its signature.

    Args:
        factory: a function or named tuple with annotated arguments.
        options: a mapping of argument names to YAML values. Mappings are turned into
            what their argument is annotated with, for example an `Optimizer`.
        what: named in errors.
        *args: further positional arguments of ``factory``, no options.

    Raises:
        ValueError: for an unknown or a missing option, or a wrong type.
    """
    return factory(*args, **checked(factory, options, what, len(args)))


def check_algorithm(what: str, algorithm: str, options: Any) -> None:
    """Refuse options that an algorithm does not take, before there is any data.

    Args:
        what: named in errors.
        algorithm: in `ALGORITHMS`.
        options: of it.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    factory = ALGORITHMS[algorithm].factory
    taken = checked(factory, options, what, given=1)
    try:
        factory(_unused, **taken)
    except ValueError as error:  # what only the factory can tell
        raise ValueError(f"{what}: {error}") from None


def _unused(params: Any, batch: Any) -> Tensor:
    raise NotImplementedError  # algorithms call their loss on records only


def checked(
    factory: Callable[..., Any],
    options: Any,
    what: str,
    given: int = 0,
    whole: bool = True,
) -> dict[str, Any]:
    """Options that suit the signature of ``factory``, in the types that it wants.

    Args:
        factory: as for `build`.
        options: as for `build`.
        what: named in errors.
        given: the first so many arguments of ``factory`` are no options.
        whole: False: an option may be missing, since the data will decide it.
    """
    if not isinstance(options, dict):
        raise ValueError(f"{what}: expected a mapping of options, not {options!r}")
    function = getattr(factory, "func", factory)  # the function under a partial
    fixed = set(getattr(factory, "keywords", ()))
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(factory).parameters.values())[given:]
    missing = ... if whole else None
    fields = {
        p.name: (_field(hints[p.name]), missing if p.default is p.empty else p.default)
        for p in parameters
        if p.name not in fixed
    }
    make: Any = create_model  # its overloads know of no computed fields
    schema = make(what, __config__=STRICT, **fields)
    try:
        accepted = schema(**options)
    except ValidationError as error:
        raise ValueError(f"{what}: {in_words(error, fields)}") from None
    return {name: getattr(accepted, name) for name in options}


def _field(hint: Any) -> Any:
    """An annotation that pydantic can check and convert to."""
    if hint is Optimizer:
        return Annotated[Any, PlainValidator(optimizer_from)]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return Union[*map(_field, args)]
    if origin not in (None, Annotated, Literal):  # a tuple, a sequence
        return origin[*map(_field, args)]
    if isinstance(hint, type) and hasattr(hint, "_fields"):  # a named tuple
        return Annotated[
            Any,
            PlainValidator(
                lambda v: v if isinstance(v, hint) else build(hint, v, hint.__name__)
            ),
        ]
    return hint


def optimizer_from(value: Any) -> Optimizer:
    """An optimiser from ``{name: adam, lr: 0.001}``."""
    if isinstance(value, Optimizer):
        return value
    return _chosen_from(OPTIMIZERS, value, "lr: ...")


def compression_from(value: Any) -> Compression:
    """A compression from ``{name: top_k, fraction: 0.1}``."""
    return _chosen_from(COMPRESSIONS, value, "...")


def _chosen_from(table: Mapping[str, Callable[..., T]], value: Any, rest: str) -> T:
    """What the entry ``name`` of a table makes of the other options beside it."""
    if not isinstance(value, dict) or value.get("name") not in table:
        known = ", ".join(table)
        raise ValueError(f"expected {{name: one of {known}, {rest}}}, not {value!r}")
    options = {key: v for key, v in value.items() if key != "name"}
    return build(table[value["name"]], options, value["name"])
