"""The blocks of parameters that only this study has."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from fedmeta.core.bounds import Share
from fedmeta.pipelines.options import Options


class StudyOptions(Options):
    """What test users are judged on."""

    # the columns of Table 3: shares of a user's records, the first, to learn from
    support_fractions: Annotated[tuple[Share, ...], Field(min_length=1)]


class StepOptions(Options):
    """Training of a model on each test user's records alone."""

    steps: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]  # to be judged after
    learning_rate: PositiveFloat  # of Adam
    batch_size: PositiveInt  # half of the records where these are fewer


class UnifiedOptions(Options):
    """The mixed network."""

    hidden: PositiveInt
    steps: PositiveInt  # of pre-training, each on records of one training user
    batch_size: PositiveInt
    learning_rate: PositiveFloat  # of Adam, in pre-training and fine-tuning
    report_every: PositiveInt  # steps; a checkpoint is written as often
    fine_tuning_steps: PositiveInt
