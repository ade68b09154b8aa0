"""The registered pipelines, for every benchmark and algorithm of the tables.

Written out as a dictionary: Kedro's `find_pipelines` does not allow composed names.
"""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines import (
    evaluation,
    ingestion,
    preparation,
    training,
)
from fedmeta.studies import comparison, create_pipelines
from fedmeta.studies.study import create_pipeline

# The rows of Chen et al.'s tables. Other algorithms are run one at a time.
COMPARED = ("fedavg", "fedavg_meta", "maml", "fomaml", "meta_sgd")


def register_pipelines() -> dict[str, Pipeline]:
    """``<benchmark>_data``, ``<benchmark>_<algorithm>``, ``<benchmark>_fedmeta``.

    The last of these is everything from raw data to the report of the paper's
    comparison, or, where there is a study of that name, of an experiment of its own.
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
        trained = sum((runs[name] for name in COMPARED), Pipeline([]))
        pipelines[f"{benchmark}_fedmeta"] = create_pipeline(
            comparison.study(benchmark, COMPARED, data, _always(trained))
        )
    pipelines |= create_pipelines()
    pipelines = {name: _tagged(pipeline) for name, pipeline in pipelines.items()}
    pipelines["__default__"] = pipelines["femnist_fedmeta"]
    return pipelines


def _always(graph: Pipeline) -> Callable[[Any], Pipeline]:
    return lambda _: graph


def _tagged(pipeline: Pipeline) -> Pipeline:
    """With tags to filter by: benchmark or study, algorithm, and stage.

    The stage is the package that a node's function is in, the others are parts of the
    names of what it makes, such as "femnist.maml.history".
    """
    return Pipeline([node.tag(_tags(node)) for node in pipeline.nodes])


def _tags(node: Node) -> list[str]:
    benchmark, *algorithm, _ = node.outputs[0].split(".")
    stage = node.func.__module__.removeprefix("fedmeta.").removeprefix("pipelines.")
    return [benchmark, *algorithm, stage.partition(".")[0]]
