"""Studies: experiments of their own, each a declaration of trainings and a report.

To add one: a module of this package, a line here, a parameters file.
"""

from collections.abc import Callable
from functools import partial

from kedro.pipeline import Pipeline

from fedmeta.pipelines.studies import tuning
from fedmeta.studies import (
    compression,
    nustep,
    perfedavg,
    personalized,
    privacy,
    readings,
    recommendation,
)
from fedmeta.studies.study import Study, create_pipeline

__all__ = ["STUDIES", "Study", "create_pipelines"]

STUDIES: dict[str, Study] = {
    module.HOME: module.STUDY
    for module in (perfedavg, nustep, personalized, readings, compression, privacy)
}
# Experiments with reports of their own kind.
OTHERS: dict[str, Callable[[], Pipeline]] = {
    "recommendation_fedmeta": lambda: create_pipeline(recommendation.STUDY),
    **{
        home: partial(tuning.create_pipeline, home, benchmark, tuned)
        for home, benchmark, tuned in (
            ("femnist_tuning", "femnist", tuning.TUNED),
            ("femnist_rivals_tuning", "femnist", tuning.TUNED_RIVALS),
            ("shakespeare_tuning", "shakespeare", tuning.TUNED),
        )
    },
}


def create_pipelines() -> dict[str, Pipeline]:
    """Every study's graph, from raw data to its report."""
    declared = {name: create_pipeline(study) for name, study in STUDIES.items()}
    return {**{name: create() for name, create in OTHERS.items()}, **declared}
