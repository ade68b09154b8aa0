"""Readings of Chen et al. (arXiv 1802.07876), where their text leaves several open.

Each question has a reading that this project took and others beside it, of which a
training differs from it in nothing else. All accuracies are of validation clients.
"""

from collections.abc import Mapping
from math import isnan, nan

import pandas as pd

from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.studies import experiment
from fedmeta.pipelines.studies.experiment import Experiment, Variant, clients_of
from fedmeta.pipelines.studies.nodes import fine_tune
from fedmeta.reporting import measures as m
from fedmeta.reporting.figure_kinds import Dots, dots
from fedmeta.reporting.phrases import ahead, greatest
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results, divergence
from fedmeta.reporting.shown import shown
from fedmeta.reporting.verdicts import Claim
from fedmeta.reporting.wording import label_of
from fedmeta.studies.study import Study

HOME = "femnist_readings"
ADAM, WEIGHTS = "MAML: where does Adam work?", "MAML: what weighs a client?"
INNER, ALPHA = "MAML: what is one local epoch?", "Meta-SGD: first α?"
# Name -> algorithm, what the paper leaves open, answer. The first of each algorithm is
# the one that this project took; it answers the other questions on it too.
READINGS = {
    "fedavg": ("fedavg_meta", 'FedAvg: which rate is "10e-5"?', "1e-4"),
    "fedavg_slow": ("fedavg_meta", 'FedAvg: which rate is "10e-5"?', "1e-5"),
    "fedavg_batches": ("fedavg_meta", "FedAvg: batches of?", "50, not 10"),
    "maml": ("maml", ADAM, "on the server"),
    "no_adam": ("maml", ADAM, "nowhere: SGD (Algorithm 1)"),
    "on_clients": ("maml", ADAM, "on the clients, models averaged (appendix)"),
    "uniform": ("maml", WEIGHTS, "nothing: all the same (Algorithm 1)"),
    "query": ("maml", WEIGHTS, "its query records, not all of its records"),
    "five_steps": ("maml", INNER, "five steps on all support records"),
    "batches": ("maml", INNER, "a step on each batch of 10"),
    "five_epochs": ("maml", INNER, "five times a step on each batch of 10"),
    "resampled": (
        "maml",
        "MAML: support and query when training?",
        "drawn anew each round",
    ),
    "meta_sgd": ("meta_sgd", ALPHA, "Table 4's, everywhere"),
    "uniform_alpha": ("meta_sgd", ALPHA, "uniform from 0.005 to 0.1"),
}
LOOPS = {"resampled": "drawn_anew"}  # readings with a round loop of their own
BASELINE, MAML = label_of("fedavg_meta"), label_of("maml")
TAKEN = {algorithm: name for name, (algorithm, *_) in reversed(READINGS.items())}
FEMNIST = clients_of("femnist")
EXPERIMENT = Experiment(
    HOME,
    FEMNIST,
    {
        name: Variant(
            algorithm,
            training=LOOPS.get(name, "training"),
            factors={"reading": name, "question": question, "answer": answer},
        )
        for name, (algorithm, question, answer) in READINGS.items()
    },
    graph=experiment.trainings,  # no test client is looked at
)


def report(results: Results, recipes: pd.DataFrame) -> Report:
    """What each reading gave, before and after adaptation; recipes of fine-tuning."""
    published: Mapping[str, float] = {}
    if results.source == FEMNIST.benchmark.label:  # else the paper has no number
        fraction = recipes["support_fraction"].iloc[0]
        published = FEMNIST.benchmark.table2.get(fraction, {})
    paper = {a: published.get(label_of(a), nan) for a in (*TAKEN, "fedavg")}
    found = {name: results.where(reading=name) for name in READINGS}
    before, after = (
        {name: m.at_end(r, column) * 100 for name, r in found.items()}
        for column in (m.BEFORE, m.AFTER)
    )

    def measured(reading: Results) -> dict[str, m.Value]:
        name, algorithm = reading.value("reading"), reading.value("algorithm")
        taken = TAKEN[algorithm]
        return {
            "rounds": m.rounds(reading),
            "before": before[name],
            "after": after[name],
            "against_taken": after[name] - (nan if name == taken else after[taken]),
            "minus_paper": after[name] - paper[algorithm],
        }

    table = m.tabulate(results, ["question", "answer"], measured)
    plain = recipes.loc[recipes["epochs"] == 0, "accuracy"]
    tuned = recipes[recipes["epochs"] > 0].reset_index(drop=True)
    tuned = tuned[["recipe", "epochs", "accuracy"]].assign(
        gain=tuned["accuracy"] - (plain.iloc[0] if len(plain) else nan),
        paper=paper["fedavg_meta"] - paper["fedavg"],
        source=results.source,
        **({"training": words} if (words := divergence(recipes)) else {}),
    )
    drawn = dots(
        [
            Dots(f"{question} {answer}", before[name], after[name], label_of(algorithm))
            for name, (algorithm, question, answer) in READINGS.items()
        ],
        f"Validation accuracy by reading · {results.source}",
        "query records classified correctly, from before adaptation to after (dot)",
        "no reading has been trained",
    )
    return Report(
        "Readings of the paper",
        _outcome(after, found, paper["maml"]),
        {"accuracy": table, "recipes": tuned},
        [
            Section(
                "What does each reading give?",
                READ,
                shown(table),
                {"accuracy": (drawn, DOTS)},
            ),
            Section(
                "How does FedAvg(Meta) fine-tune?",
                "One model, FedAvg's at the last round, fine-tuned on validation "
                "clients' support records by several recipes.",
                shown(tuned, {"gain": "points_gained", "paper": "papers_gain"}),
            ),
        ],
        [
            Claim(
                f"{_named(name)} is ahead of {BASELINE}",
                *ahead(
                    after[name],
                    {BASELINE: after["fedavg"]},
                    paper[algorithm] - paper["fedavg_meta"],
                ),
            )
            for name, (algorithm, *_) in READINGS.items()
            if algorithm != "fedavg_meta"
        ],
    )


def _outcome(after: dict[str, m.Value], found: dict[str, Results], paper: float) -> str:
    """Which reading of MAML is the best, and which comes closest to the paper."""
    reached = {
        n: v for n, v in after.items() if READINGS[n][0] == "maml" and not v.missing
    }
    if (best := greatest(reached)) is None:
        return "No reading has been trained."
    rounds = max(float(m.rounds(found[name])) for name in reached)
    text = (
        f"After {rounds:,.0f} rounds the best reading of {MAML} is {_named(best)}: "
        f"{reached[best]:.1f} % of the validation clients' query records are "
        "classified correctly after adaptation"
    )
    if isnan(paper):
        return f"{text}."
    closest = min(reached, key=lambda name: abs(float(reached[name]) - paper))
    return (
        f"{text}. Closest to the paper's {paper:.2f} % on test clients after 2,000 "
        + ("it is as well." if closest == best else f"is {_named(closest)}.")
    )


def _named(name: str) -> str:
    _, question, answer = READINGS[name]
    return f"“{question} {answer[:1].upper() + answer[1:]}”"


READ = """
Percent of all validation clients' query records classified correctly at the last round,
before and after adaptation. A reading differs in its answer alone from the first one of
its algorithm, which this project took."""
DOTS = """
A line leads from accuracy before adaptation to the dot, accuracy after it; the grey
upright is the reading that was taken."""
STUDY = Study(
    HOME,
    FEMNIST.benchmark,
    [EXPERIMENT],
    report=report,
    tables=("accuracy", "recipes"),
    figures=("accuracy",),
    notes=["All accuracies are of validation clients; no test client is looked at."],
    more=[
        lambda: node(
            bind(fine_tune, benchmark=FEMNIST.benchmark),
            f"{HOME}.report.fine_tuning_table",
            HOME,
            "report",
            {"checkpoint": f"{HOME}.fedavg.checkpoint"},
            data=FEMNIST.home,
        )
    ],
    further={"recipes": f"{HOME}.report.fine_tuning_table"},
)
