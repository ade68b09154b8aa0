"""What does differential privacy of each client cost (McMahan et al. 2018)?

https://arxiv.org/abs/1710.06963: logistic regression by FedAvg on many writers, with
more and more noise. `--env privacy` draws as many writers as that is sensible for.
"""

from fedmeta.models.mlp import mlp
from fedmeta.pipelines.studies import writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant
from fedmeta.reporting import measures as m
from fedmeta.reporting.curves import by_round, curves
from fedmeta.reporting.phrases import beats
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import shown
from fedmeta.reporting.style import shades
from fedmeta.reporting.verdicts import Claim
from fedmeta.studies.study import Study

HOME = "femnist_privacy_study"
NOISE = {"none": 0.0, "z05": 0.5, "z1": 1.0, "z2": 2.0, "z4": 4.0}
VARIANTS = {
    name: Variant("fedavg", training=f"training_{name}", factors={"noise": z})
    for name, z in NOISE.items()
}


def report(results: Results) -> Report:
    """Accuracy beside epsilon, by the noise; curves; whether noise costs accuracy."""
    by_noise = {_label(z): results.where(noise=z) for z in NOISE.values()}

    def measured(run: Results) -> dict[str, m.Value]:
        return {
            **{name: m.at_end(run, name) for name in ("epsilon", "delta")},
            "before": m.accuracy(run, epochs=0),
            "after": m.accuracy(run, epochs=1),
        }

    table = m.tabulate(results, ["noise"], measured)
    drawn = curves(
        by_round({"": by_noise}, m.BEFORE, shades(list(by_noise))),
        f"Validation accuracy of the shared model · {results.source}",
    )
    plain, *private = by_noise
    return Report(
        "What privacy of each client costs",
        "Trainings that differ in noise alone; epsilon is that of all rounds.",
        {"accuracy": table},
        [Section("Accuracy by epsilon", READ, shown(table), {"accuracy": (drawn, "")})],
        [
            Claim(
                f"the model with {label} is less accurate than without",
                *beats({plain: by_noise[plain], label: by_noise[label]}, epochs=0),
            )
            for label in private
        ],
    )


def _label(noise: float) -> str:
    return f"z = {noise:g}" if noise else "no noise"


READ = """
Percent of all test writers' query records classified correctly by the shared model, and
after a writer's own fine-tuning, which costs no epsilon. A smaller epsilon is stronger;
z is the noise on the sum of a round, in clips; without it cohorts are of fixed size."""
STUDY = Study(
    HOME,
    writers.WRITERS.benchmark,
    [Experiment(HOME, writers.WRITERS.with_model(mlp), VARIANTS)],
    report=report,
    tables=["accuracy"],
    figures=["accuracy"],
    notes=[writers.NOTE, writers.UNSEEN],
)
