"""Readings of Chen et al. (arXiv 1802.07876), where their text leaves several open.

Each question has a reading that this project took and others beside it, of which a
training differs from it in nothing else. Everything here is a pure function of
``Results``; all accuracies are of validation clients.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedmeta.reporting.claims import Claim, more, number
from fedmeta.reporting.divergence import Diverged, training_cell
from fedmeta.reporting.study_page import Section
from fedmeta.reporting.study_scores import last
from fedmeta.reporting.style import (
    FAINT,
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    colours_of,
    panels,
    say,
)
from fedmeta.reporting.wording import MISSING, Column

HEADING = "Readings of the paper"

BASELINE, MAML, META_SGD = "FedAvg(Meta)", "FedMeta(MAML)", "FedMeta(Meta-SGD)"
BEFORE, AFTER = "validation_accuracy_before", "validation_accuracy_after"


class Reading(NamedTuple):
    """One way to read the paper."""

    question: str  # what it leaves open
    answer: str
    algorithm: str  # a label of the paper's Table 2


FEDAVG, TAKEN, TAKEN_ALPHA = "fedavg", "maml", "meta_sgd"
ADAM = "MAML: where does Adam work?"
WEIGHTS = "MAML: what weighs a client?"
INNER = "MAML: what is one local epoch?"
# The first of each algorithm is the one that this project took; it answers the other
# questions on that algorithm too.
READINGS: dict[str, Reading] = {
    FEDAVG: Reading('FedAvg: which rate is "10e-5"?', "1e-4", BASELINE),
    "fedavg_slow": Reading('FedAvg: which rate is "10e-5"?', "1e-5", BASELINE),
    "fedavg_batches": Reading("FedAvg: batches of?", "50, not 10", BASELINE),
    TAKEN: Reading(ADAM, "on the server, at ten times Table 4's β", MAML),
    "table4": Reading(ADAM, "on the server, at Table 4's β", MAML),
    "no_adam": Reading(ADAM, "nowhere: SGD at Table 4's β (Algorithm 1)", MAML),
    "on_clients": Reading(ADAM, "on the clients, models averaged (appendix)", MAML),
    "uniform": Reading(WEIGHTS, "nothing: all the same (Algorithm 1)", MAML),
    "query": Reading(WEIGHTS, "its query records, not all of its records", MAML),
    "five_steps": Reading(INNER, "five steps on all support records", MAML),
    "batches": Reading(INNER, "a step on each batch of 10", MAML),
    "five_epochs": Reading(INNER, "five times a step on each batch of 10", MAML),
    "resampled": Reading(
        "MAML: support and query when training?", "drawn anew each round", MAML
    ),
    TAKEN_ALPHA: Reading("Meta-SGD: first α?", "Table 4's, everywhere", META_SGD),
    "uniform_alpha": Reading(
        "Meta-SGD: first α?", "uniform from 0.005 to 0.1", META_SGD
    ),
}


class Results(NamedTuple):
    """What the readings gave; some may be missing.

    Attributes:
        histories: By the name of the reading: a row an evaluated round.
        recipes: Of fine-tuning `FEDAVG`'s model, a row a recipe and number of epochs:
            `recipe, epochs, accuracy` (percent).
        source: What the data are, for titles and tables.
        paper: Table 2 of the paper by label, in percent; empty where it says nothing
            of these data.
    """

    histories: Mapping[str, pd.DataFrame]
    recipes: pd.DataFrame
    source: str
    paper: Mapping[str, float]


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The tables: "accuracy", a row a reading, and "recipes"."""
    return {"accuracy": accuracy_table(results), "recipes": recipes_table(results)}


def figures(results: Results) -> dict[str, Figure]:
    """The figure: "accuracy"."""
    return {"accuracy": before_and_after(results)}


def claims(results: Results) -> list[Claim]:
    """Under which readings FedMeta is ahead of FedAvg(Meta), as the paper reports."""
    accuracy = _finals(results, AFTER)
    base = accuracy[FEDAVG]
    return [
        Claim(
            f"{_named(name)} is ahead of {BASELINE}",
            _lead(accuracy[name], base, reading.algorithm, results.paper),
            more(accuracy[name], base),
        )
        for name, reading in READINGS.items()
        if reading.algorithm != BASELINE
    ]


def summary(results: Results) -> str:
    """Which reading of MAML is the best, and which comes closest to the paper."""
    reached = {
        name: value
        for name, value in _finals(results, AFTER).items()
        if READINGS[name].algorithm == MAML and not np.isnan(value)
    }
    if not reached:
        return "No reading has been trained."
    best = max(reached, key=reached.__getitem__)
    rounds = int(max(_rounds(results.histories[name]) for name in reached))
    text = (
        f"After {rounds:,} rounds the best reading of {MAML} is {_named(best)}: "
        f"{reached[best]:.1f} % of the validation clients' query records are "
        "classified correctly after adaptation"
    )
    paper = results.paper.get(MAML)
    if paper is None:
        return f"{text}."
    closest = min(reached, key=lambda name: abs(reached[name] - paper))
    return (
        f"{text}. Closest to the paper's {paper:.2f} % on test clients after 2,000 "
        + ("it is as well." if closest == best else f"is {_named(closest)}.")
    )


def sections(results: Results) -> list[Section]:
    """The parts of the page below the claims."""
    made = tables(results)
    return [
        Section(
            "What does each reading give?",
            "Percent of all validation clients' query records classified correctly at "
            "the last round, before and after adaptation. A reading differs in its "
            "answer alone from the first one of its algorithm, which this project "
            "took.",
            table=made["accuracy"],
            columns=ACCURACY_COLUMNS,
            figure="accuracy",
            caption="A line leads from accuracy before adaptation to the dot, accuracy "
            "after it; the grey upright is the reading that was taken.",
        ),
        Section(
            "How does FedAvg(Meta) fine-tune?",
            "One model, FedAvg's at the last round, fine-tuned on validation clients' "
            "support records by several recipes.",
            table=made["recipes"],
            columns=RECIPE_COLUMNS,
        ),
    ]


def accuracy_table(results: Results) -> pd.DataFrame:
    """What each reading gave.

    Returns:
        A row a reading: `question`, `answer`; `rounds`; `before` and `after`
        adaptation in percent; in points `against_taken`, after minus that of the
        algorithm's first reading, and `minus_paper`; `source`.
    """
    before, after = _finals(results, BEFORE), _finals(results, AFTER)
    taken = {reading.algorithm: name for name, reading in reversed(READINGS.items())}
    rows = [
        {
            "question": reading.question,
            "answer": reading.answer,
            "rounds": _rounds(results.histories.get(name)),
            "before": before[name],
            "after": after[name],
            "against_taken": np.nan
            if name == taken[reading.algorithm]
            else after[name] - after[taken[reading.algorithm]],
            "minus_paper": after[name] - results.paper.get(reading.algorithm, np.nan),
            "source": results.source,
            **training_cell({"": results.histories.get(name)}),
        }
        for name, reading in READINGS.items()
    ]
    return pd.DataFrame(rows)


def recipes_table(results: Results) -> pd.DataFrame:
    """What each recipe of fine-tuning gave, and its gain over no fine-tuning, points.

    Returns:
        A row a recipe and number of epochs above 0: `recipe`, `epochs`, `accuracy` in
        percent, `gain` in points, `paper`, the paper's gain, and `source`.
    """
    found = results.recipes
    plain = found.loc[found["epochs"] == 0, "accuracy"]
    tuned = found[found["epochs"] > 0].reset_index(drop=True)
    paper = results.paper.get(BASELINE, np.nan) - results.paper.get("FedAvg", np.nan)
    return tuned[["recipe", "epochs", "accuracy"]].assign(
        **training_cell({"": found}),
        gain=tuned["accuracy"] - (plain.iloc[0] if len(plain) else np.nan),
        paper=paper,
        source=results.source,
    )


def before_and_after(results: Results) -> Figure:
    """A line from before to after adaptation, a reading a row, by algorithm."""
    before, after = _finals(results, BEFORE), _finals(results, AFTER)
    height = 1.2 + 0.36 * len(READINGS)
    title = f"Validation accuracy by reading · {results.source}"
    figure, (panel,) = panels(1, title, (11, height))
    if not any(not np.isnan(value) for value in after.values()):
        say(panel, "no reading has been trained")
        return figure
    colours = colours_of(dict.fromkeys(r.algorithm for r in READINGS.values()))
    panel.grid(axis="y", visible=False)
    algorithm, first = "", 0
    for row, (name, reading) in enumerate(READINGS.items()):
        if reading.algorithm != algorithm:
            algorithm, first = reading.algorithm, row
            others = sum(r.algorithm == algorithm for r in READINGS.values())
            end = first + others - 0.6
            panel.plot([after[name]] * 2, [first - 0.4, end], color=FAINT, linewidth=2)
        colour = colours[algorithm]
        panel.plot([before[name], after[name]], [row] * 2, color=colour, linewidth=2)
        panel.plot(after[name], row, marker="o", color=colour)
        panel.annotate(
            number(after[name]),
            (np.nanmax([before[name], after[name], 0]), row),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL_SIZE,
            color=INK,
        )
    panel.set_yticks(
        range(len(READINGS)), [f"{r.question} {r.answer}" for r in READINGS.values()]
    )
    for label, reading in zip(panel.get_yticklabels(), READINGS.values(), strict=True):
        label.set_color(colours[reading.algorithm])
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(READINGS) - 0.4, -0.6)  # the first on top
    panel.set_xlim(0, 1.12 * np.nanmax([*before.values(), *after.values(), 5]))
    panel.xaxis.set_major_formatter(PercentFormatter(100, decimals=0))
    panel.set_xlabel(
        "query records classified correctly, from before adaptation to after (dot)",
        fontsize=LABEL_SIZE,
    )
    return figure


def _finals(results: Results, column: str) -> dict[str, float]:
    """Of every reading, in percent, at its last round."""
    return {name: 100 * last(results.histories.get(name), column) for name in READINGS}


def _rounds(history: pd.DataFrame | None) -> float:
    return np.nan if history is None else float(history["round"].max())


def _lead(own: float, base: float, algorithm: str, paper: Mapping[str, float]) -> str:
    if isinstance(own, Diverged) or isinstance(base, Diverged):
        return f"{number(own)}, {BASELINE} {number(base)}"
    if np.isnan(own - base):
        return MISSING
    text = f"{number(own)}, {BASELINE} {number(base)}: {own - base:+.2f} points"
    if algorithm in paper:
        text += f" (paper {paper[algorithm] - paper[BASELINE]:+.2f})"
    return text


def _named(name: str) -> str:
    return f"“{READINGS[name].question} {_capital(READINGS[name].answer)}”"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


ACCURACY_COLUMNS = {
    "question": Column("What the paper leaves open", str),
    "answer": Column("Read as", str),
    "rounds": Column("Rounds", "{:,.0f}".format),
    "before": Column("Before", "{:.1f} %".format),
    "after": Column("After", "{:.1f} %".format),
    "against_taken": Column("– the one taken", "{:+.1f}".format),
    "minus_paper": Column("– the paper", "{:+.1f}".format),
}
RECIPE_COLUMNS = {
    "recipe": Column("Fine-tuned by", str),
    "epochs": Column("Epochs", "{:,}".format),
    "accuracy": Column("Accuracy", "{:.1f} %".format),
    "gain": Column("Gain", "{:+.1f}".format),
    "paper": Column("The paper's gain", "{:+.1f}".format),
}
