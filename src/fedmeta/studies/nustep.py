"""For how many steps to train (Jamali et al. 2025, arXiv 2504.21327).

Is a model best at the number of fine-tuning steps that it was trained for, and is it
worth training for many? nu is the number of steps in training; models are tested after
0 to 10, on users of skewed labels and on natural writers. Of the largest nu there are
trainings with approximated gradients too: of first order, and Hessian-free.
"""

import pandas as pd

from fedmeta.models.mlp import mlp
from fedmeta.pipelines.studies import label_skew, writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant
from fedmeta.reporting import measures as m
from fedmeta.reporting.curves import LOSS, by_round, curves
from fedmeta.reporting.figure_kinds import Map, heat_maps
from fedmeta.reporting.phrases import all_of, beats, best, counted, greatest, sooner
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import shown
from fedmeta.reporting.style import shades
from fedmeta.reporting.verdicts import Claim
from fedmeta.studies.study import Study

HOME, BY = "femnist_nu_step_study", ["setting", "nu_train", "gradient"]
STEPS = (1, 2, 3, 5)  # nu in training
EXACT = "exact"
APPROXIMATED = {"fo": "first order", "hf": "Hessian-free"}  # of the largest nu
META_LOSS = "validation_loss_after"


def _name(nu: int) -> str:
    return f"ν = {nu}"


FIRST, LAST = _name(STEPS[0]), _name(STEPS[-1])
GRADIENTS = [EXACT, *APPROXIMATED.values()]


def _variant(nu: int, gradient: str) -> Variant:
    return Variant("nu_step", factors={"nu_train": nu, "gradient": gradient})


VARIANTS = {
    **{f"nu{nu}": _variant(nu, EXACT) for nu in STEPS},
    **{f"nu{STEPS[-1]}_{k}": _variant(STEPS[-1], v) for k, v in APPROXIMATED.items()},
}


def report(results: Results) -> Report:
    """Accuracies by steps in training and at test, and rounds to nu = 1's accuracy."""
    steps = results.counts()

    def target(found: Results) -> m.Value:
        setting = found.value("setting")
        return m.at_end(results.where(setting=setting, nu_train=1), m.AFTER)

    accuracy = m.tabulate(
        results, BY, lambda r: {f"steps_{n}": m.accuracy(r, epochs=n) for n in steps}
    )
    rounds = m.tabulate(
        results,
        BY,
        lambda r: {
            "final": m.at_end(r, m.AFTER) * 100,
            "best": m.of_curve(r, m.AFTER, pd.Series.max) * 100,
            "meta_loss": m.at_end(r, META_LOSS),
            "round_reaching": m.reaching(r, target(r)),
            "flops_reaching": m.reaching(r, target(r), "flops"),
        },
    )
    rounds = m.whole(rounds, "round_reaching")
    claims, said, maps, ends, kinds = [], [], {}, {}, {}
    framed = [(i, steps.index(nu)) for i, nu in enumerate(STEPS) if nu in steps]
    for setting, found in results.by("setting").items():
        exact = found.where(gradient=EXACT)
        trained = {_name(nu): exact.where(nu_train=nu) for nu in STEPS}
        right = {
            n: {name: m.accuracy(r, epochs=n) for name, r in trained.items()}
            for n in steps
        }
        maps[setting] = Map.of(right, "{:.1f}", [n for n in steps if n], framed)
        ends[setting] = {name: trained[name] for name in (FIRST, LAST)}
        largest = found.where(nu_train=STEPS[-1])
        kinds[setting] = {g: largest.where(gradient=g) for g in GRADIENTS}
        claims += _claims(setting.capitalize(), right, ends[setting], kinds[setting])
        said.append(_outcome(setting, right))
    drawn = heat_maps(
        maps,
        f"Test accuracy by fine-tuning steps, in percent · {results.source}",
        x="fine-tuning steps at test",
        nothing="no test user",
    )
    learning = curves(
        by_round(ends, m.AFTER, shades([FIRST, LAST])),
        f"Validation accuracy after ν steps, by round · {results.source}",
    )
    losses = curves(
        by_round(kinds, META_LOSS, shades(GRADIENTS)),
        f"Meta-loss of validation users with {LAST}, by round · {results.source}",
        LOSS,
    )
    return Report(
        "Training for more than one step of fine-tuning",
        " ".join(filter(None, said)) or "No test user has been evaluated.",
        {"accuracy": accuracy, "rounds": rounds},
        [
            Section(
                "At how many steps is each model best?",
                "Percent of all test users' query records classified correctly, by "
                "the number of fine-tuning steps in training (rows, ν) and at test "
                "(columns).",
                shown(accuracy),
                {"heat_map": (drawn, HEAT_MAP)},
            ),
            Section(
                "Does training for more steps converge faster?",
                "Accuracy of the validation users' personal models by round, each "
                "after the ν steps that it was trained for. The table says at which "
                "evaluated round each first reached what ν = 1 had at its end.",
                shown(rounds),
                {"accuracy": (learning, CURVES)},
            ),
            Section(
                "What do approximated gradients lose?",
                "The mean loss of the validation users' query records after ν steps, "
                "which is what training minimises, with exact gradients, without "
                "Hessians (first order), and with differences of gradients in their "
                "place (Hessian-free).",
                None,
                {"meta_loss": (losses, LOSSES)},
            ),
        ],
        claims,
    )


def _claims(
    who: str, right: dict, ends: dict[str, Results], kinds: dict[str, Results]
) -> list[Claim]:
    own = {
        f"{counted(nu, 'step')} at test": best(right[nu], _name(nu))
        for nu in STEPS
        if nu in right
    }
    both = {LAST: ends[LAST], FIRST: ends[FIRST]}
    most, end = counted(STEPS[-1], "step"), "final validation accuracy in fewer rounds"
    found = {
        "with ν steps at test, the model trained for ν is the best": all_of(own),
        f"with {most} at test, {LAST} beats {FIRST}": beats(both, epochs=STEPS[-1]),
        f"{LAST} reaches {FIRST}'s {end}": sooner(both),
    }
    first_order = APPROXIMATED["fo"]
    for gradient in (EXACT, APPROXIMATED["hf"]):
        pair = {g: kinds[g] for g in (gradient, first_order)}
        claim = f"with {most} at test, {LAST} {gradient} beats {LAST} {first_order}"
        found[claim] = beats(pair, epochs=STEPS[-1])
    return [Claim(f"{who}: {claim}", *outcome) for claim, outcome in found.items()]


def _outcome(setting: str, right: dict[int, dict[str, m.Value]]) -> str:
    values = {(k, n): v for n, column in right.items() for k, v in column.items()}
    if (top := greatest(values)) is None:
        return ""
    return (
        f"With {setting}, the most accurate is the model trained for "
        f"{counted(int(top[0].split()[-1]), 'step')}, fine-tuned with {top[1]}: "
        f"{values[top]:.1f} % of the test users' query records are classified "
        "correctly."
    )


HEAT_MAP = """
Light is accurate. The framed cells are tested with as many steps as they were trained
for, where each should be the best of its column. Colours are those of one setting;
cells darker than the scale's end, most often without any step, have its darkest."""
CURVES = """
A curve that rises earlier needs fewer rounds, but a round of more steps computes more:
the table has both."""
LOSSES = """
Low is good. Exact and Hessian-free gradients should give one curve: a difference of
gradients is nearly the product with the Hessian."""
STUDY = Study(
    HOME,
    writers.WRITERS.benchmark,
    [
        Experiment(
            f"{HOME}_skewed",
            label_skew.SKEWED,
            VARIANTS,
            {"setting": "label skew"},
        ),
        Experiment(
            f"{HOME}_writers",
            writers.WRITERS.with_model(mlp),
            VARIANTS,
            {"setting": "natural writers"},
        ),
    ],
    report=report,
    tables=("accuracy", "rounds"),
    figures=("heat_map", "accuracy", "meta_loss"),
    notes=[f"Label skew: {label_skew.NOTE}", writers.NOTE, writers.UNSEEN],
)
