"""The graph of the report."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.reporting.nodes import (
    FIGURES,
    collect,
    compose,
    draw,
    tabulate,
)

TABLES = ("accuracy", "fairness", "overhead", "targets")


def create_pipeline(benchmark: str, algorithms: Sequence[str]) -> Pipeline:
    """Histories and scores of some algorithms -> tables, figures, one HTML page."""
    entry, names = BENCHMARKS[benchmark], list(algorithms)
    home = f"{benchmark}.report"
    results = {
        f"{name}_{kind}": f"{benchmark}.{name}.{kind}"
        for name in names
        for kind in ("history", "scores")
    }
    validation = {
        f"{name}_validation_scores": f"{benchmark}.{name}.validation_scores"
        for name in names
    }
    shared = {
        "records": f"{benchmark}.records",
        "report": f"params:{benchmark}.report",
    }
    return Pipeline(
        [
            Node(
                bind(collect, benchmark=entry, names=names),
                {**shared, "partition": f"params:{benchmark}.partition", **results},
                [f"{home}.results", f"{home}.histories"],
                name=f"collect_{benchmark}",
                namespace="report",
            ),
            Node(
                bind(tabulate, benchmark=entry, names=names),
                {
                    **shared,
                    "partition": f"params:{benchmark}.partition",
                    **results,
                    **validation,
                },
                [f"{home}.{table}_table" for table in TABLES],
                name=f"tabulate_{benchmark}",
                namespace="report",
            ),
            Node(
                bind(draw, benchmark=entry, names=names),
                {
                    **shared,
                    "overhead": f"{home}.overhead_table",
                    "targets": f"{home}.targets_table",
                    **results,
                },
                [f"{home}.{figure}_figure" for figure in FIGURES],
                name=f"draw_{benchmark}",
                namespace="report",
            ),
            Node(
                bind(compose, benchmark=entry, names=names),
                {
                    **shared,
                    "statistics": f"{benchmark}.statistics",
                    **{table: f"{home}.{table}_table" for table in TABLES},
                    "partition": f"params:{benchmark}.partition",
                    "clients": f"{benchmark}.clients",
                    "support_query": f"{benchmark}.support_query",
                    "codebook": f"{benchmark}.codebook",
                    **results,
                },
                f"{home}.page",
                name=f"compose_{benchmark}",
                namespace="report",
            ),
        ]
    )
