"""Options of the studies, beyond those of every training."""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    RootModel,
    field_validator,
)

from fedmeta.core.bounds import Seed
from fedmeta.data.repartition import DIVISIONS
from fedmeta.options import optimizer_from
from fedmeta.pipelines.options import Explained, Options, accepted_by


class UserOptions(Options):
    """Users that records are repartitioned among."""

    division: str
    options: dict[str, Any]  # arguments of the division

    @field_validator("division")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in DIVISIONS:
            raise ValueError(f"one of {', '.join(DIVISIONS)}, not {value!r}")
        return value


class DistanceOptions(Options):
    """Distances between the data of users."""

    sample: PositiveInt  # records of a user whose features are compared
    seed: Seed


class PersonalisationOptions(Options):
    """How clients personalise what was learned."""

    optimizer: Annotated[dict[str, Any], accepted_by(optimizer_from)]
    batch_size: PositiveInt | None  # None: the whole support set at once
    epochs: tuple[NonNegativeInt, ...] = Field(min_length=1)  # each of these numbers

    def words(self) -> str:
        """All of it but the number of epochs, as a table says it."""
        options = dict(self.optimizer)
        values = [str(options.pop("name")), *(f"{k} {v:g}" for k, v in options.items())]
        size = self.batch_size
        return f"{', '.join(values)}, {f'batches of {size}' if size else 'all at once'}"


class RecipesOptions(Explained, RootModel[dict[str, PersonalisationOptions]]):
    """Several ways to personalise, by name."""


class Rung(Options):
    """A stage of successive halving."""

    rounds: PositiveInt  # that trainings have had at its end
    keep: PositiveInt  # so many of the best go on; at the last rung: are chosen


class TuningOptions(Options):
    """What is tried to choose hyperparameters, and how long."""

    rungs: tuple[Rung, ...] = Field(min_length=1)
    work_limit: PositiveFloat  # a client update's operations over the reference's
    # By algorithm: options in place of those of its block. Those of an algorithm that
    # shares another's training say how clients adapt.
    configurations: dict[str, list[dict[str, Any]]]

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, rungs: tuple[Rung, ...]) -> tuple[Rung, ...]:
        for before, after in pairwise(rungs):
            if after.rounds <= before.rounds or after.keep > before.keep:
                raise ValueError("expected more rounds at each rung, and keep no more")
        return rungs
