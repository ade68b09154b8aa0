"""Readings of Chen et al. (arXiv 1802.07876), where their text leaves several open."""

import pandas as pd
from kedro.pipeline import Node, Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipelines import ingestion, preparation
from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.studies import report
from fedmeta.pipelines.studies.experiment import (
    Experiment,
    Variant,
    shared_inputs,
    trainings,
)
from fedmeta.pipelines.studies.nodes import fine_tune
from fedmeta.reporting import readings as words

HOME = "femnist_readings"
DATA = "femnist"
NAMES = {entry.label: name for name, entry in ALGORITHMS.items()}
LOOPS = {"resampled": "drawn_anew"}  # readings with a round loop of their own
EXPERIMENT = Experiment(
    HOME,
    DATA,
    f"{DATA}.records",
    BENCHMARKS[DATA],
    {
        name: Variant(NAMES[reading.algorithm], training=LOOPS.get(name, "training"))
        for name, reading in words.READINGS.items()
    },
)


def _collect(
    histories: dict[str, pd.DataFrame], source: str, recipes: pd.DataFrame
) -> words.Results:
    own = source == EXPERIMENT.benchmark.label  # or the paper has no number for them
    fraction = recipes["support_fraction"].iloc[0]
    return words.Results(
        {name: histories[f"{HOME}.{name}"] for name in words.READINGS},
        recipes,
        source,
        EXPERIMENT.benchmark.table2.get(fraction, {}) if own else {},
    )


STUDY = report.Study(
    home=HOME,
    benchmark=EXPERIMENT.benchmark,
    experiments=[EXPERIMENT],
    words=words,
    collect=_collect,
    tables=("accuracy", "recipes"),
    figures=("accuracy",),
    notes=["All accuracies are of validation clients; no test client is looked at."],
    further={"recipes": f"{HOME}.report.fine_tuning_table"},
    kinds=("history",),
)


def create_pipeline() -> Pipeline:
    """FEMNIST's clients -> a training a reading; recipes of fine-tuning FedAvg."""
    tuned = Node(
        bind(fine_tune, benchmark=EXPERIMENT.benchmark),
        {
            **shared_inputs(EXPERIMENT, words.FEDAVG),
            "checkpoint": f"{HOME}.{words.FEDAVG}.checkpoint",
            "partition": f"params:{DATA}.partition",
            "recipes": f"params:{HOME}.recipes",
        },
        f"{HOME}.report.fine_tuning_table",
        name=f"fine_tune_{HOME}",
        namespace="report",
    )
    return (
        ingestion.create_pipeline(DATA)
        + preparation.create_pipeline(DATA)
        + trainings(EXPERIMENT)
        + Pipeline([tuned])
        + report.create_pipeline(STUDY)
    )
