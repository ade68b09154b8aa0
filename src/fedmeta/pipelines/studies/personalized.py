"""FedAvg read as meta-learning (Jiang et al. 2019, arXiv 1909.12488)."""

import pandas as pd
from kedro.pipeline import Pipeline

from fedmeta.pipelines.studies import report, writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant, runs
from fedmeta.reporting import personalized as words

HOME = "femnist_personalized_fedavg"
EPOCHS = (1, 2, 5, 10, 20)  # E, local epochs of the first stage
EXPERIMENT = Experiment(
    HOME,
    writers.DATA,
    writers.RECORDS,
    writers.WRITERS,
    {
        **{f"e{e}": Variant("fedavg") for e in EPOCHS},
        **{
            f"e{e}_reptile": Variant("reptile", after=f"e{e}", training="second_stage")
            for e in EPOCHS
        },
        words.CENTRAL: Variant("fedavg", training="in_one_place"),
    },
)


def _collect(
    scores: dict[str, pd.DataFrame], histories: dict[str, pd.DataFrame], source: str
) -> words.Results:
    def by_stage(
        tables: dict[str, pd.DataFrame],
    ) -> dict[int, dict[words.Variant, pd.DataFrame]]:
        return {
            1: {
                **{e: tables[f"{HOME}.e{e}"] for e in EPOCHS},
                words.CENTRAL: tables[f"{HOME}.{words.CENTRAL}"],
            },
            2: {e: tables[f"{HOME}.e{e}_reptile"] for e in EPOCHS},
        }

    return words.Results(by_stage(scores), by_stage(histories), source)


STUDY = report.Study(
    home=HOME,
    benchmark=writers.WRITERS,
    experiments=[EXPERIMENT],
    words=words,
    collect=_collect,
    tables=("accuracy", "stability"),
    figures=("epochs", "initial_personalised"),
    notes=[writers.NOTE, writers.UNSEEN],
)


def create_pipeline() -> Pipeline:
    """FedAvg(E), then Reptile, and training in one place -> who personalises best."""
    return writers.create_pipeline() + runs(EXPERIMENT) + report.create_pipeline(STUDY)
