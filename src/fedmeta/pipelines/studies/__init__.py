"""Experiments of their own, each a pipeline from raw data to a report.

To add one: a module of this package, a line here, a parameters file.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from kedro.pipeline import Pipeline

from fedmeta.pipelines import recommendation
from fedmeta.pipelines.studies import (
    nustep,
    perfedavg,
    personalized,
    readings,
    tuning,
)
from fedmeta.pipelines.studies.report import Study


class Entry(NamedTuple):
    """What the table says of a study."""

    create_pipeline: Callable[[], Pipeline]
    report: Study | None = None  # of several trainings, under one heading


STUDIES: dict[str, Entry] = {
    "recommendation_fedmeta": Entry(recommendation.create_pipeline),
    perfedavg.HOME: Entry(perfedavg.create_pipeline, perfedavg.STUDY),
    nustep.HOME: Entry(nustep.create_pipeline, nustep.STUDY),
    personalized.HOME: Entry(personalized.create_pipeline, personalized.STUDY),
    readings.HOME: Entry(readings.create_pipeline, readings.STUDY),
    "femnist_tuning": Entry(partial(tuning.create_pipeline, "femnist")),
}
