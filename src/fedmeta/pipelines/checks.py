"""Options of models and algorithms, checked before any node runs."""

from typing import Any

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS, options_of
from fedmeta.pipelines.options import check_algorithm, checked
from fedmeta.pipelines.studies import STUDIES


def check_factories(parameters: dict[str, Any]) -> None:
    """Refuse options of benchmarks, models and algorithms that no function takes.

    Args:
        parameters: All parameters, by benchmark or study and block.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    for benchmark, entry in BENCHMARKS.items():
        blocks = parameters[benchmark]
        raw = blocks["raw"]
        for factory, options, what, given in (
            (entry.write_sample, raw["sample"] or {}, "raw.sample", 1),
            (entry.parse, raw.get("parse", {}), "raw.parse", 1),
            (entry.select_clients, blocks["selection"], "selection", 1),
            (entry.codebook, blocks["encoding"], "encoding", 2),
        ):
            checked(factory, options, f"{benchmark}.{what}", given)
        if (
            blocks["training"]["resample"]
            and blocks["partition"]["strategy"] == "order"
        ):
            raise ValueError(
                f"{benchmark}: training.resample draws support and query at random, and"
                " partition.strategy 'order' keeps records in order; change one of them"
            )
        # The data decide the rest of its options.
        checked(entry.model, blocks["model"], f"{benchmark}.model", whole=False)
        for name in ALGORITHMS:
            check_algorithm(benchmark, name, name, options_of(name, blocks))
    for study in STUDIES.values():
        study.check(parameters)
