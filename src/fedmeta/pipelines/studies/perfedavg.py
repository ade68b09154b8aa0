"""Per-FedAvg's own experiment (Fallah et al. 2020, arXiv 2002.07948, section 5)."""

import pandas as pd
from kedro.pipeline import Node, Pipeline

from fedmeta.pipelines.binding import bind
from fedmeta.pipelines.studies import label_skew, report, writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant, runs
from fedmeta.pipelines.studies.nodes import measure
from fedmeta.reporting import perfedavg as words

HOME = "femnist_perfedavg"
METHODS = {
    "fedavg": (words.BASELINE, "fedavg"),
    "fo": (words.FO, "per_fedavg"),
    "hf": (words.HF, "per_fedavg"),
    "exact": (words.EXACT, "per_fedavg"),
}
TAUS = (4, 10)  # local steps a round
EXPERIMENT = Experiment(
    HOME,
    label_skew.DATA,
    label_skew.RECORDS,
    label_skew.SKEWED,
    {
        f"{method}_tau{tau}": Variant(algorithm)
        for tau in TAUS
        for method, (_, algorithm) in METHODS.items()
    },
)


def _collect(
    scores: dict[str, pd.DataFrame],
    histories: dict[str, pd.DataFrame],
    source: str,
    distances: pd.DataFrame,
) -> words.Results:
    names = {
        (label, tau): f"{HOME}.{method}_tau{tau}"
        for method, (label, _) in METHODS.items()
        for tau in TAUS
    }
    return words.Results(
        {variant: scores[name] for variant, name in names.items()},
        {variant: histories[name] for variant, name in names.items()},
        distances,
        source,
    )


STUDY = report.Study(
    home=HOME,
    benchmark=label_skew.SKEWED,
    experiments=[EXPERIMENT],
    words=words,
    collect=_collect,
    tables=("results", "distances"),
    figures=("accuracy", "meta_gradient", "distances"),
    notes=[label_skew.NOTE, writers.UNSEEN],
    further={"distances": f"{HOME}.report.pairs_table"},
)


def create_pipeline() -> Pipeline:
    """Digits dealt out by label -> FedAvg with an update against Per-FedAvg."""
    data = label_skew.DATA
    measured = Node(
        bind(measure, benchmark=label_skew.SKEWED),
        {
            **{
                name: f"{data}.{name}"
                for name in ("records", "clients", "client_split", "codebook")
            },
            "distances": f"params:{HOME}.distances",
        },
        f"{HOME}.report.pairs_table",
        name=f"measure_{HOME}",
        namespace="report",
    )
    return (
        label_skew.create_pipeline()
        + runs(EXPERIMENT)
        + Pipeline([measured])
        + report.create_pipeline(STUDY)
    )
