"""How many steps to train for (Jamali et al. 2025, arXiv 2504.21327)."""

import pandas as pd
from kedro.pipeline import Pipeline

from fedmeta.models.mlp import mlp
from fedmeta.pipelines.studies import label_skew, report, writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant, runs
from fedmeta.reporting import nustep as words

HOME = "femnist_nustep"
STEPS = (1, 2, 3, 5)  # nu in training
VARIANTS = {f"nu{nu}": Variant("nu_step") for nu in STEPS}
EXPERIMENTS = {
    "label skew": Experiment(
        f"{HOME}_skewed",
        label_skew.DATA,
        label_skew.RECORDS,
        label_skew.SKEWED,
        VARIANTS,
    ),
    "natural writers": Experiment(
        f"{HOME}_writers",
        writers.DATA,
        writers.RECORDS,
        writers.WRITERS._replace(model=mlp),
        VARIANTS,
    ),
}


def _collect(
    scores: dict[str, pd.DataFrame], histories: dict[str, pd.DataFrame], source: str
) -> words.Results:
    def by_setting(
        tables: dict[str, pd.DataFrame],
    ) -> dict[str, dict[int, pd.DataFrame]]:
        return {
            setting: {nu: tables[f"{experiment.home}.nu{nu}"] for nu in STEPS}
            for setting, experiment in EXPERIMENTS.items()
        }

    return words.Results(by_setting(scores), by_setting(histories), source)


STUDY = report.Study(
    home=HOME,
    benchmark=writers.WRITERS,
    experiments=list(EXPERIMENTS.values()),
    words=words,
    collect=_collect,
    tables=("accuracy", "rounds"),
    figures=("heat_map", "accuracy"),
    notes=[f"Label skew: {label_skew.NOTE}", writers.NOTE, writers.UNSEEN],
)


def create_pipeline() -> Pipeline:
    """Users of skewed labels, natural writers -> steps in training and at the test."""
    return (
        writers.create_pipeline()
        + label_skew.create_pipeline()
        + sum((runs(e) for e in EXPERIMENTS.values()), Pipeline([]))
        + report.create_pipeline(STUDY)
    )
