"""Studies: experiments of their own, each a declaration of trainings and a report.

To add one: a module of this package, a line here, a parameters file.
"""

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
# Comparisons that are tuned -> benchmark, algorithms.
TUNINGS: dict[str, tuple[str, tuning.Tuned]] = {
    "femnist_tuning": ("femnist", tuning.TUNED),
    "femnist_rivals_tuning": ("femnist", tuning.TUNED_RIVALS),
    "shakespeare_tuning": ("shakespeare", tuning.TUNED),
    "images_tuning": ("images", tuning.TUNED),
    "table_tuning": ("table", tuning.TUNED),
}


def create_pipelines() -> dict[str, Pipeline]:
    """Every study's graph, from raw data to its report."""
    return {
        "recommendation_fedmeta": create_pipeline(recommendation.STUDY),
        **{home: tuning.create_pipeline(home, *of) for home, of in TUNINGS.items()},
        **{name: create_pipeline(study) for name, study in STUDIES.items()},
    }
