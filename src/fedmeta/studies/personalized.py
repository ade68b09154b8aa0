"""FedAvg read as meta-learning (Jiang et al. 2019, arXiv 1909.12488).

Which training gives a shared model that is good as it is and easy to personalise?
FedAvg with E local epochs is stage 1; stage 2 goes on from its model with Reptile; a
model trained in one place on all records is the comparison.
"""

from collections.abc import Sequence

import pandas as pd

from fedmeta.pipelines.studies import writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant
from fedmeta.reporting import measures as m
from fedmeta.reporting.curves import Axis, Line, curves
from fedmeta.reporting.figure_kinds import Points, Scatter, scatter
from fedmeta.reporting.phrases import better_at_equal_initial, counted, greatest, raised
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import shown
from fedmeta.reporting.style import shades
from fedmeta.reporting.verdicts import Claim
from fedmeta.studies.study import Study

HOME, CENTRAL = "femnist_personalized_fedavg", "central"
EPOCHS = (1, 2, 5, 10, 20)  # E, local epochs of the first stage
PERSONALISED = 5  # epochs of personalisation that claims mean by "personalised"
QUARTER = 0.25  # of the evaluated rounds, at whose end stability is measured
STAGES = {1: "FedAvg", 2: "then Reptile"}
NAMES = {str(e): f"FedAvg({e})" for e in EPOCHS} | {CENTRAL: "central training"}
COLOURS = shades([NAMES[str(e)] for e in EPOCHS]) | {NAMES[CENTRAL]: "#444444"}


def report(results: Results) -> Report:
    """Accuracies by epochs of personalisation, stability, initial against personal."""
    stages = {s: results.where(training_stage=s) for s in STAGES}
    both = {s: {v: r.where(variant=v) for v in NAMES} for s, r in stages.items()}
    accuracy = m.tabulate(
        results,
        ["variant"],
        lambda r: {
            f"stage{s}_{n}": m.accuracy(r.where(training_stage=s), epochs=n)
            for s, found in stages.items()
            for n in found.counts()
        },
    )
    stability = m.tabulate(
        stages[1],
        ["variant"],
        lambda r: {
            "evaluations": m.of_curve(r, m.AFTER, len, QUARTER),
            "initial": m.of_curve(r, m.BEFORE, pd.Series.std, QUARTER) * 100,
            "personalised": m.of_curve(r, m.AFTER, pd.Series.std, QUARTER) * 100,
        },
    )
    panels = {
        f"stage {s}: {STAGES[s]}": {
            NAMES[v]: Line(
                m.by_epochs(r) / 100,
                words=r.diverged,
                colour=COLOURS[NAMES[v]],
                dashed=v == CENTRAL,
            )
            for v, r in found.items()
        }
        for s, found in both.items()
    }
    by_epochs = curves(
        panels,
        f"Test accuracy by epochs of personalisation · {results.source}",
        Axis("query records classified correctly", "{:.1%}", zero=False),
        x="epochs of personalisation",
        nothing="no test user",
    )
    paths = scatter(
        _paths(both[1]),
        f"Personalised by initial accuracy along training · {results.source}",
        x="initial accuracy",
        nothing="no round has been evaluated",
    )
    return Report(
        "FedAvg read as meta-learning: initial and personalised accuracy",
        _outcome(both),
        {"accuracy": accuracy, "stability": stability},
        [
            Section(
                "What does personalisation add, and the second stage?",
                ACCURACY,
                shown(accuracy),
                {"epochs": (by_epochs, EPOCH_CURVES)},
            ),
            Section(
                "Which training makes a model easy to personalise?",
                "Accuracies of the validation users in stage 1, at every evaluated "
                "round.",
                figures={"initial_personalised": (paths, PATHS)},
            ),
            Section(
                "How much does accuracy change from round to round?",
                STABILITY,
                shown(stability),
            ),
        ],
        _claims(both),
    )


def _claims(both: dict[int, dict[str, Results]]) -> list[Claim]:
    epochs, first = counted(PERSONALISED, "epoch"), both[1]

    def pairs(*of: tuple[int, int]) -> dict[str, Sequence[m.Value]]:
        """Accuracies of each E at stages and numbers of epochs."""
        return {
            f"E = {e}": [m.accuracy(both[s][str(e)], epochs=n) for s, n in of]
            for e in EPOCHS
        }

    return [
        raised(
            f"FedAvg(E): {epochs} of personalisation raise accuracy, for every E",
            pairs((1, 0), (1, PERSONALISED)),
        ),
        *(
            raised(
                f"Reptile after FedAvg(E) raises the {what}, for every E",
                pairs((1, n), (2, n)),
            )
            for n, what in (
                (0, "initial accuracy"),
                (PERSONALISED, f"accuracy after {epochs}"),
            )
        ),
        *(
            Claim(
                f"E = {e}: at equal initial accuracy, the centrally trained model "
                "personalises worse",
                *better_at_equal_initial(
                    {NAMES[str(e)]: first[str(e)], "central": first[CENTRAL]}
                ),
            )
            for e in EPOCHS
        ),
    ]


def _paths(found: dict[str, Results]) -> dict[str, Scatter]:
    after, gained = {}, {}
    for variant, results in found.items():
        table = m.initial_and_personalised(results.histories)
        name, x, y = NAMES[variant], table[m.BEFORE], table[m.AFTER]
        style = {"path": True, "dashed": variant == CENTRAL}
        label = f"{name} {results.diverged}".strip()
        after[label] = Points(x, y, COLOURS[name], **style)
        gained[label] = Points(x, y - x, COLOURS[name], **style)
    return {
        "personalised accuracy": Scatter(after, "diagonal"),
        "what personalisation adds, in points": Scatter(gained, "zero"),
    }


def _outcome(both: dict[int, dict[str, Results]]) -> str:
    right = {
        (s, v): m.accuracy(r, epochs=PERSONALISED)
        for s, found in both.items()
        for v, r in found.items()
    }
    if (top := greatest(right)) is None:
        return "No test user has been evaluated."
    stage, variant = top
    name = NAMES[variant][0].upper() + NAMES[variant][1:]
    how = "" if stage == 1 else f", {STAGES[stage]},"
    text = (
        f"{name}{how} personalises best: {right[top]:.1f} % of the test users' query "
        f"records are classified correctly after {counted(PERSONALISED, 'epoch')} on a "
        "user's own records"
    )
    initial = m.accuracy(both[stage][variant], epochs=0)
    return f"{text}." if initial.missing else f"{text}, {initial:.1f} % before."


ACCURACY = """
Percent of all test users' query records classified correctly by the shared model as it
is (initial) and after epochs on the user's own records; E is the number of local epochs
a round in FedAvg. Stage 1 is FedAvg with momentum on the server, stage 2 goes on with
Reptile and Adam on the server."""
EPOCH_CURVES = """
A curve's left end is the shared model. One that rises steeply needs little
personalisation; one that falls again is overfitting the user's few records."""
PATHS = """
A curve is a training, from its first evaluated round at the left to its last, the dot.
At one initial accuracy, the higher curve is easier to personalise; on a grey line,
personalisation adds nothing."""
STABILITY = """
Standard deviation, in points, of the validation accuracies in the last quarter of stage
1's evaluated rounds: low is stable. A model that is still getting better is less stable
by this measure."""


def _variant(algorithm: str, e: int | str, stage: int = 1, **options: str) -> Variant:
    factors = {"variant": str(e), "training_stage": stage}
    return Variant(algorithm, factors=factors, **options)


STUDY = Study(
    HOME,
    writers.WRITERS.benchmark,
    [
        Experiment(
            HOME,
            writers.WRITERS,
            {
                **{f"e{e}": _variant("fedavg", e) for e in EPOCHS},
                **{
                    f"e{e}_reptile": _variant(
                        "reptile", e, 2, after=f"e{e}", training="second_stage"
                    )
                    for e in EPOCHS
                },
                CENTRAL: _variant("fedavg", CENTRAL, training="in_one_place"),
            },
        )
    ],
    report=report,
    tables=("accuracy", "stability"),
    figures=("epochs", "initial_personalised"),
    notes=[writers.NOTE, writers.UNSEEN],
)
