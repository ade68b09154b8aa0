"""The registered pipelines, for every benchmark and algorithm of the tables.

Written out as a dictionary: Kedro's `find_pipelines` does not allow composed names.
"""

from collections.abc import Callable

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines import (
    evaluation,
    ingestion,
    preparation,
    recommendation,
    reporting,
    training,
)

STUDIES: dict[str, Callable[[], Pipeline]] = {
    "recommendation_fedmeta": recommendation.create_pipeline,
}


def register_pipelines() -> dict[str, Pipeline]:
    """``<benchmark>_data``, ``<benchmark>_<algorithm>``, ``<benchmark>_fedmeta``.

    The last of these is everything from raw data to the report: of all algorithms, or,
    where `STUDIES` has one of that name, of an experiment of its own.
    """
    pipelines: dict[str, Pipeline] = {}
    for benchmark in BENCHMARKS:
        data = ingestion.create_pipeline(benchmark)
        data += preparation.create_pipeline(benchmark)
        runs = {
            name: evaluation.create_pipeline(benchmark, name)
            + training.create_pipeline(benchmark, entry.trained_as or name)
            for name, entry in ALGORITHMS.items()
        }
        pipelines[f"{benchmark}_data"] = data
        for name, run in runs.items():
            pipelines[f"{benchmark}_{name}"] = data + run
        pipelines[f"{benchmark}_fedmeta"] = (
            data
            + sum(runs.values(), Pipeline([]))
            + reporting.create_pipeline(benchmark)
        )
    for name, create_study in STUDIES.items():
        pipelines[name] = create_study()
    pipelines["__default__"] = pipelines["femnist_fedmeta"]
    return pipelines
