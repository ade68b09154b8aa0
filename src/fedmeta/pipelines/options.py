"""Parameters as typed options: a misspelt key or a wrong type stops before work starts.

The options of an algorithm and of a model are the arguments of its factory. Their
schema is read off the factory's signature, so that nothing is declared twice.
"""

import inspect
from collections.abc import Callable
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveInt,
    ValidationError,
    create_model,
    model_validator,
)
from torch import Tensor

from fedmeta.core import bounds
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.core.bounds import Within
from fedmeta.core.gradients import Loss
from fedmeta.core.optimizers import OPTIMIZERS, Optimizer
from fedmeta.core.types import Algorithm
from fedmeta.data.tasks import Episode
from fedmeta.pipelines.option_errors import in_words

T = TypeVar("T")


def bounded(hint: Any) -> Any:
    """An annotation of `fedmeta.core.bounds` as pydantic has it."""
    base, *others = get_args(hint)
    fields = [
        Field(gt=b.above, ge=b.least, lt=b.below, le=b.most)
        for b in others
        if isinstance(b, Within)
    ]
    return Annotated[base, *fields, *(o for o in others if not isinstance(o, Within))]


Seed = bounded(bounds.Seed)
Weight = bounded(bounds.Weight)
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Explained(BaseModel):
    """Options whose errors are told in the words of the others."""

    @classmethod
    def model_validate(cls, obj: Any, **how: Any) -> Self:
        """As pydantic's, which Kedro calls.

        Raises:
            ValueError: for an unknown option, a missing one, or an impossible value.
        """
        try:
            return super().model_validate(obj, **how)
        except ValidationError as error:
            raise ValueError(in_words(error, cls.model_fields)) from None


class Options(Explained):
    """Options that refuse unknown keys."""

    model_config = STRICT


class RawOptions(Explained):
    """Where raw files are, and whether a sample is drawn there first.

    All else in the block are arguments of the benchmark's `parse`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    folder: str | None  # or a file, where the benchmark takes one
    sample: dict[str, Any] | None  # arguments of the benchmark's `write_sample`

    @property
    def parse(self) -> dict[str, Any]:
        """Arguments of the benchmark's `parse`."""
        return dict(self.model_extra or {})


class PartitionOptions(Options):
    """Clients into train, validation and test; records into support and query."""

    clients: tuple[Fraction, Fraction, Fraction]
    support_fraction: Fraction
    strategy: str
    gap: NonNegativeInt = 0  # records left out between support and query in order
    # A client to whom the gap leaves fewer query records takes no part.
    min_query: PositiveInt = 5
    query_fraction: Fraction | None = None  # the last so many; None: all but support
    seed: Seed  # type: ignore[valid-type]


class ProbeOptions(Options):
    """The norm of the meta-gradient, recorded along training."""

    inner_lr: Weight  # type: ignore[valid-type]  # alpha of the objective that is differentiated; 0: no step
    steps: PositiveInt = 1  # its nu
    clients: PositiveInt | None = None  # the first so many training ones; None: all


class TrainingOptions(Options):
    """The round loop, the same for every algorithm of a benchmark."""

    rounds: PositiveInt
    clients_per_round: PositiveInt
    evaluate_every: PositiveInt  # rounds; a checkpoint is written as often
    # The first so many; None: all. Each is a row of the validation scores, which every
    # checkpoint holds, at every evaluation.
    evaluation_clients: PositiveInt | None
    resample: bool  # new support and query sets every round
    # Further support fractions that validation clients are watched under, where
    # training does not depend on it: runs under these need not train again.
    support_fractions: tuple[Fraction, ...] = ()
    episode: Episode | None = None  # or records drawn anew from all of a client's
    pooled: PositiveInt | None = None  # or so many from all clients, in one place
    probe: ProbeOptions | None = None  # what else to record; None: nothing
    # The parameters that are judged at the end and used: those after the last round, or
    # their average over the last quarter of the rounds.
    iterate: Literal["last", "average"] = "last"
    seed: Seed  # type: ignore[valid-type]
    device: Literal["auto", "cpu", "cuda"]
    backend: Literal["auto", "sequential", "threaded", "vectorized", "dask"]
    scheduler: str | None = None  # dask's address; None: workers on this machine
    # Where a client's update is not finite, the training stops, or goes on without.
    nonfinite_updates: Literal["stop", "skip"] = "stop"
    clients_at_once: PositiveInt | None  # None: one a core, or a round's on a GPU
    chunk: PositiveInt  # records differentiated at once: bounds memory

    @model_validator(mode="after")
    def _drawn_in_one_way(self) -> Self:
        chosen = [n for n in ("resample", "episode", "pooled") if getattr(self, n)]
        if len(chosen) > 1:
            raise ValueError(
                f"{' and '.join(chosen)}: each decides which records a round trains on,"
                " so only one of them can be given; set the others to false or null"
            )
        return self


class ReportOptions(Options):
    """What the report asks of the runs."""

    target_accuracy: Fraction  # overhead is counted until validation gets there


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
    if origin is Annotated:
        return bounded(hint)
    if origin in (Union, UnionType):
        return Union[*map(_field, args)]
    if origin not in (None, Literal):  # a tuple, a sequence
        return origin[*map(_field, args)]
    if _is_named_tuple(hint):
        return Annotated[
            Any,
            PlainValidator(
                lambda v: v if isinstance(v, hint) else build(hint, v, hint.__name__)
            ),
        ]
    return hint


def _is_named_tuple(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "_fields")


def optimizer_from(value: Any) -> Optimizer:
    """An optimiser from ``{name: adam, lr: 0.001}``."""
    if isinstance(value, Optimizer):
        return value
    if not isinstance(value, dict) or value.get("name") not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"expected {{name: one of {known}, lr: ...}}, not {value!r}")
    rest = {key: v for key, v in value.items() if key != "name"}
    return build(OPTIMIZERS[value["name"]], rest, value["name"])
