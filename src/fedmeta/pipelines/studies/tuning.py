"""Tuning all sides of a comparison with one budget, on validation clients."""

from collections.abc import Mapping, Sequence

import pandas as pd
from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.graph import option_inputs
from fedmeta.pipelines.reporting import settings_of_results, united
from fedmeta.pipelines.studies.experiment import clients_of
from fedmeta.pipelines.studies.halving import AS_TRAINED, tune
from fedmeta.reporting.shown import Shown, TableCell, show

REFERENCE = "maml"  # in the options of its block: the measure of a round's work
# What is trained, and what only adapts its models in another way.
Tuned = Mapping[str, Sequence[str]]
TUNED: Tuned = {"fedavg": ["fedavg_meta"], "maml": [], "fomaml": [], "meta_sgd": []}
TUNED_RIVALS: Tuned = {
    **TUNED,
    "fedavg": ["fedavg_meta", "knn_per", "ditto"],
    "local": [],
    "fedbabu": [],
    "fedper": [],
    "fedrep": [],
    "scaffold": [],
}


def create_pipeline(home: str, benchmark: str, tuned: Tuned) -> Pipeline:
    """Clients of a benchmark -> what was tried and chosen for each algorithm.

    Args:
        home: under which name the report and the options are.
        benchmark: a name in `BENCHMARKS`.
        tuned: the algorithms.
    """
    nodes = [
        node(
            bind(
                tune,
                benchmark=BENCHMARKS[benchmark],
                names=[name, *others],
                reference=REFERENCE,
            ),
            [f"{home}.{name}.checkpoint", f"{home}.report.{name}_table"],
            benchmark,
            name,
            {
                "earlier": f"{home}.{name}.earlier_checkpoints",
                "tuning": f"params:{home}",
                **option_inputs(benchmark, [name, *others, REFERENCE]),
            },
        )
        for name, others in tuned.items()
    ]
    tables = {name: f"{home}.report.{name}_table" for name in tuned}
    output = f"{home}.report.tuning_table"
    chosen = node(choose, output, benchmark, "report", tables)
    return clients_of(benchmark).create_pipeline() + Pipeline([*nodes, chosen])


def choose(**tables: pd.DataFrame) -> pd.DataFrame:
    """Everything that was tried, an algorithm after the other, labelled for readers.

    What was chosen is printed too.

    Raises:
        ValueError: if the tables differ in more than the algorithm.
    """
    made_with = united(settings_of_results(tables))
    table = pd.concat(tables.values(), ignore_index=True)
    last = table["rounds"] == table["rounds"].max()
    table = table.assign(
        algorithm=[ALGORITHMS[name].label for name in table["algorithm"]],
        accuracy=table["accuracy"].round(2),
        work=table["work"].round(2),
        chosen=table["kept"] & last,
    )
    table.attrs["settings"] = made_with
    show(_printed(table), "Chosen on validation clients", wrapped=2)
    return table


def _printed(table: pd.DataFrame) -> Shown:
    """For each algorithm its options, which parameters are judged, and the accuracy."""
    rows, chosen = [], table[table["chosen"]]
    for name in table["algorithm"].unique():
        if name not in set(chosen["algorithm"]):
            none = "all configurations diverged: lower their rates"
            rows.append([*map(TableCell, [name, none, "", ""])])
    for row in chosen.to_dict("records"):
        adaptation = "" if row["adaptation"] == AS_TRAINED else f", {row['adaptation']}"
        options = f"{row['configuration']}{adaptation}"
        texts = [row["algorithm"], options, row["iterate"], f"{row['accuracy']:.1f} %"]
        rows.append([*map(TableCell, texts)])
    return Shown(["Algorithm", "Options", "Iterate", "Accuracy"], [("", rows)])
