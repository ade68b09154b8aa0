"""The registered pipelines, for every benchmark and algorithm of the tables.

Written out as a dictionary: Kedro's `find_pipelines` does not allow composed names.
"""

from collections.abc import Mapping

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.graph import federation, remote, run
from fedmeta.pipelines.studies.experiment import clients_of
from fedmeta.runtime.federation.current import is_taking_part
from fedmeta.studies import comparison, create_pipelines
from fedmeta.studies.comparison import COMPARED, RIVALS
from fedmeta.studies.study import create_pipeline

FEDERATED = ("fedavg", "fedavg_meta", "maml")  # by `make federation`


def register_pipelines() -> dict[str, Pipeline]:
    """``<benchmark>_data``, ``_<algorithm>``, ``_fedmeta`` and ``_rivals``.

    Inside Flower algorithms and the comparison once more, with ``_federation``, on the
    nodes' clients.

    ``_fedmeta`` is everything from raw data to the report of the paper's comparison,
    or, where there is a study of that name, of an experiment of its own. ``_rivals``
    compares with other ways to personalise too.
    """
    pipelines, studies = {}, create_pipelines()
    for benchmark in BENCHMARKS:
        data = clients_of(benchmark).create_pipeline()
        runs = {name: run(benchmark, name) for name in ALGORITHMS}
        pipelines[f"{benchmark}_data"] = data
        pipelines |= {f"{benchmark}_{name}": data + runs[name] for name in runs}
        if f"{benchmark}_fedmeta" not in studies:
            home = f"{benchmark}_rivals"
            study = comparison.study(benchmark, benchmark, COMPARED, data, runs)
            pipelines[f"{benchmark}_fedmeta"] = create_pipeline(study)
            study = comparison.study(home, benchmark, COMPARED + RIVALS, data, runs)
            pipelines[home] = create_pipeline(study)
        if is_taking_part():
            pipelines |= _on_nodes(benchmark, runs)
    pipelines |= studies
    pipelines = {
        name: Pipeline([node.tag(_tags(node)) for node in pipeline.nodes])
        for name, pipeline in pipelines.items()
    }
    pipelines["__default__"] = pipelines["femnist_fedmeta"]
    return pipelines


def _on_nodes(benchmark: str, runs: Mapping[str, Pipeline]) -> dict[str, Pipeline]:
    data = federation(benchmark)
    found = {
        f"{benchmark}_{name}_federation": data + remote(benchmark, runs[name])
        for name in runs
    }
    study = comparison.study(benchmark, benchmark, FEDERATED, data, runs)
    compared = create_pipeline(study)
    found[f"{benchmark}_federation"] = remote(benchmark, compared)
    return found


def _tags(node: Node) -> list[str]:
    """Tags to filter by: benchmark or study, algorithm, and stage.

    The stage is the package that a node's function is in, the others are parts of the
    names of what it makes, such as "femnist.maml.history".
    """
    benchmark, *algorithm, _ = node.outputs[0].split(".")
    stage = node.func.__module__.removeprefix("fedmeta.").removeprefix("pipelines.")
    return [benchmark, *algorithm, stage.partition(".")[0]]
