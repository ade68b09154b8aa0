"""The blocks of parameters that the pipelines read, as typed options.

Those of an algorithm and of a model are the arguments of its factory:
`fedmeta.options`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from fedmeta.core.bounds import Rate, Seed, Share, Weight
from fedmeta.data.tasks import Episode
from fedmeta.option_errors import in_words
from fedmeta.options import STRICT, compression_from


def accepted_by(build: Callable[[Any], Any]) -> AfterValidator:
    """Refuse options that a function cannot build from; they stay as they are."""

    def check(value: Any) -> Any:
        build(value)
        return value

    return AfterValidator(check)


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

    clients: tuple[Share, Share, Share]
    support_fraction: Share
    strategy: str
    gap: NonNegativeInt = 0  # records left out between support and query in order
    # A client to whom the gap leaves fewer query records takes no part.
    min_query: PositiveInt = 5
    query_fraction: Share | None = None  # the last so many; None: all but support
    seed: Seed


class ProbeOptions(Options):
    """The norm of the meta-gradient, recorded along training."""

    inner_lr: Weight  # alpha of the objective that is differentiated; 0: no step
    steps: PositiveInt = 1  # its nu
    clients: PositiveInt | None = None  # the first so many training ones; None: all


class PrivacyOptions(Options):
    """User-level differential privacy."""

    clip: Rate  # greatest L2 norm of a client's update
    noise_multiplier: Rate  # noise on the sum, in clips
    delta: Share | None = None  # of epsilon; None: n^-1.1 of n training clients


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
    support_fractions: tuple[Share, ...] = ()
    episode: Episode | None = None  # or records drawn anew from all of a client's
    pooled: PositiveInt | None = None  # or so many from all clients, in one place
    probe: ProbeOptions | None = None  # what else to record; None: nothing
    # The parameters that are judged at the end and used: those after the last round, or
    # their average over the last quarter of the rounds.
    iterate: Literal["last", "average"] = "last"
    seed: Seed
    device: Literal["auto", "cpu", "cuda"]
    backend: Literal["auto", "sequential", "threaded", "vectorized", "dask"]
    scheduler: str | None = None  # dask's address; None: workers on this machine
    # Where a client's update is not finite, the training stops, or goes on without.
    nonfinite_updates: Literal["stop", "skip"] = "stop"
    # Of updates: a name of `COMPRESSIONS`, and its options.
    compression: Annotated[dict[str, Any], accepted_by(compression_from)] | None = None
    # Clients of a round are drawn independently then, clients_per_round on average.
    privacy: PrivacyOptions | None = None
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
        if self.privacy and self.pooled:
            raise ValueError(
                "privacy is that of clients, and pooled puts their records together;"
                " set one to null"
            )
        return self


class ReportOptions(Options):
    """What the report asks of the runs."""

    target_accuracy: Share  # overhead is counted until validation gets there
