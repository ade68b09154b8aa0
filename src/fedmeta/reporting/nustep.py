"""The study of nu-step meta federated learning (Jamali et al. 2025, arXiv 2504.21327).

Is a model best at the number of fine-tuning steps that it was trained for, and is it
worth training for many? nu is the number of steps in training; models are tested after
0 to 10. Everything here is a pure function of ``Results``.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fedmeta.reporting.claims import (
    DIVERGED,
    Claim,
    Held,
    every,
    more,
    number,
)
from fedmeta.reporting.divergence import divergence, judged, sentences, training_cell
from fedmeta.reporting.study_figures import accuracy_by_round, heat_map, write_cells
from fedmeta.reporting.study_page import Section
from fedmeta.reporting.study_scores import compared, curve, epochs_tested, last, micro
from fedmeta.reporting.style import INK, LABEL_SIZE, SMALL_SIZE, panels, say, shades
from fedmeta.reporting.tables import first_reaching
from fedmeta.reporting.wording import MISSING, Column, flops_text

ByNu = Mapping[int, pd.DataFrame]

HEADING = "Training for more than one step of fine-tuning"

FEWEST = 1  # step: conventional meta-learning
ACCURACY = "validation_accuracy_after"
STEPS = "steps_"  # what the table's columns of test steps begin with


class Results(NamedTuple):
    """What the study measured; variants may be missing.

    Attributes:
        scores: By setting, such as "label skew", and nu: a row a test user and number
            of fine-tuning steps (its ``epochs``).
        histories: By setting and nu: a row an evaluated round, accuracies after the
            nu steps that the variant trains for.
        source: What the data are, for titles and tables.
    """

    scores: Mapping[str, ByNu]
    histories: Mapping[str, ByNu]
    source: str


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The study's tables: "accuracy" by test steps, and "rounds"."""
    return {
        "accuracy": accuracy_table(results.scores, results.source),
        "rounds": rounds_table(results.histories, results.source),
    }


def figures(results: Results) -> dict[str, Figure]:
    """The study's figures: "heat_map" and "accuracy"."""
    return {
        "heat_map": step_map(results.scores, results.source),
        "accuracy": fewest_and_most(results.histories, results.source),
    }


def claims(results: Results) -> list[Claim]:
    """What the paper expects of training for more steps, checked in each setting."""
    return [
        judged
        for setting in _settings(results)
        for judged in (
            _best_of_its_column(setting, results.scores.get(setting, {})),
            _most_beats_fewest(setting, results.scores.get(setting, {})),
            _in_fewer_rounds(setting, results.histories.get(setting, {})),
        )
    ]


def summary(results: Results) -> str:
    """The outcome in a sentence for each setting."""
    sentences = []
    for setting, by_nu in results.scores.items():
        table = accuracy_table({setting: by_nu}, "").set_index("nu_train")
        values = table.filter(like=STEPS).stack().dropna()
        if values.empty:
            continue
        nu, column = values.idxmax()
        steps = int(column.removeprefix(STEPS))
        sentences.append(
            f"With {setting}, the most accurate is the model trained for "
            f"{_steps(nu)}, fine-tuned with {steps}: {values.max():.1f} % of the test "
            "users' query records are classified correctly."
        )
    return " ".join(sentences) or "No test user has been evaluated."


def sections(results: Results) -> list[Section]:
    """The parts of the page below the claims."""
    made = tables(results)
    return [
        Section(
            "At how many steps is each model best?",
            "Percent of all test users' query records classified correctly, by the "
            "number of fine-tuning steps in training (rows, ν) and at test (columns).",
            table=made["accuracy"],
            columns=_headings(made["accuracy"]),
            figure="heat_map",
            caption="Light is accurate. The framed cells are tested with as many steps "
            "as they were trained for, where each should be the best of its column. "
            "Colours are those of one setting; cells darker than the scale's end, most "
            "often without any step, have its darkest.",
        ),
        Section(
            "Does training for more steps converge faster?",
            "Accuracy of the validation users' personal models by round, each after "
            "the ν steps that it was trained for. The table says at which evaluated "
            "round each first reached what ν = 1 had at its end.",
            table=made["rounds"],
            columns=ROUND_COLUMNS,
            figure="accuracy",
            caption="A curve that rises earlier needs fewer rounds, but a round of "
            "more steps computes more: the table has both.",
        ),
    ]


def accuracy_table(scores: Mapping[str, ByNu], source: str) -> pd.DataFrame:
    """Micro accuracy in percent, a row a setting and nu, a column a number of steps."""
    steps = sorted({n for by_nu in scores.values() for n in epochs_tested(by_nu)})
    rows = [
        {"setting": setting, "nu_train": nu, "source": source}
        | {f"{STEPS}{count}": micro(by_nu[nu], count) for count in steps}
        | training_cell({"": by_nu[nu]})
        for setting, by_nu in scores.items()
        for nu in sorted(by_nu)
    ]
    return pd.DataFrame(
        rows, columns=None if rows else ["setting", "nu_train", "source"]
    )


def rounds_table(histories: Mapping[str, ByNu], source: str) -> pd.DataFrame:
    """How fast each variant learned, a row a setting and nu.

    Returns:
        Accuracies in percent: ``final`` and ``best`` on validation users;
        ``round_reaching`` is the first evaluated round with nu = 1's final accuracy,
        missing where there was none; ``flops_reaching`` is what all clients together
        had computed until then.
    """
    rows = []
    for setting, by_nu in histories.items():
        target = last(by_nu.get(FEWEST), ACCURACY)
        for nu in sorted(by_nu):
            rows.append(
                {
                    "setting": setting,
                    "nu_train": nu,
                    "source": source,
                    "final": 100 * last(by_nu[nu], ACCURACY),
                    "best": 100 * curve(judged(by_nu[nu]), ACCURACY).max(),
                    **{
                        f"{column}_reaching": _reaching(
                            judged(by_nu[nu]), target, column
                        )
                        for column in ("round", "flops")
                    },
                    **training_cell({"": by_nu[nu]}),
                }
            )
    columns = ["setting", "nu_train", "source", "final", "best"]
    columns += ["round_reaching", "flops_reaching"]
    return pd.DataFrame(rows, columns=None if rows else columns).astype(
        {"round_reaching": "Int64"}
    )


def step_map(scores: Mapping[str, ByNu], source: str) -> Figure:
    """Heat map of accuracies, steps in training by steps at test, a panel a setting."""
    count = max(len(scores), 1)
    title = f"Test accuracy by fine-tuning steps, in percent · {source}"
    height = 0.9 + sum(1.0 + 0.42 * max(len(by_nu), 2) for by_nu in scores.values())
    figure, axes = panels(count, title, (11.5, max(height, 2.5)), rows=count)
    if not scores:
        say(axes[0], "no test user")
    for panel, (setting, by_nu) in zip(axes, scores.items(), strict=False):
        panel.set_title(setting, fontsize=LABEL_SIZE, loc="left", color=INK)
        nus, steps = sorted(by_nu), epochs_tested(by_nu)
        values = np.array([[micro(by_nu[nu], n) for n in steps] for nu in nus])
        if not np.isfinite(values).any():
            say(panel, "no test user")
            continue
        # an unadapted model can be so poor that all others would have one colour
        adapted = values[:, [n > 0 for n in steps]]
        scale = adapted if np.isfinite(adapted).any() else values
        lowest, highest = np.nanmin(scale), np.nanmax(scale)
        image = heat_map(panel, values, lowest, max(highest, lowest + 0.1))
        write_cells(image, values, "{:.1f}")
        for row, nu in enumerate(nus):
            if nu in steps:
                corner = (steps.index(nu) - 0.5, row - 0.5)
                frame = {"fill": False, "edgecolor": "#D55E00", "linewidth": 2.5}
                panel.add_patch(Rectangle(corner, 1, 1, **frame, clip_on=False))
        panel.set_xticks(range(len(steps)), [str(n) for n in steps])
        panel.set_yticks(range(len(nus)), [_label(nu) for nu in nus])
        panel.tick_params(length=0)
        poorer = np.nanmin(values) < lowest
        bar = figure.colorbar(image, ax=panel, extend="min" if poorer else "neither")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL_SIZE)
    axes[-1].set_xlabel("fine-tuning steps at test", fontsize=LABEL_SIZE)
    return figure


def fewest_and_most(histories: Mapping[str, ByNu], source: str) -> Figure:
    """Validation accuracy by round of the smallest and largest nu of each setting."""
    groups = {
        setting: {_label(nu): by_nu[nu] for nu in sorted({min(by_nu), max(by_nu)})}
        for setting, by_nu in histories.items()
        if by_nu
    }
    labels = {
        label: int(label.rpartition(" ")[2]) for g in groups.values() for label in g
    }
    return accuracy_by_round(
        groups,
        f"Validation accuracy after ν steps, by round · {source}",
        shades(sorted(labels, key=labels.__getitem__)),
    )


def _best_of_its_column(setting: str, by_nu: ByNu) -> Claim:
    held, texts = [], []
    for nu in sorted(by_nu):
        column = {trained: micro(by_nu[trained], nu) for trained in sorted(by_nu)}
        own = column.pop(nu)
        if lost := [k for k in by_nu if divergence(by_nu[k])]:
            held.append(DIVERGED)
            texts += [f"{_label(k)} {divergence(by_nu[k])}" for k in sorted(lost)]
            break
        measured = {k: v for k, v in column.items() if not np.isnan(v)}
        if not measured:
            held.append(None)
            continue
        other = max(measured, key=measured.__getitem__)
        held.append(more(own, measured[other]))
        texts.append(
            f"{_steps(nu)} at test: {_label(nu)} {number(own)}, the best other is "
            f"{_label(other)} {number(measured[other])}"
        )
    return Claim(
        f"{_named(setting)}: with ν steps at test, the model trained for ν is the best",
        "; ".join(texts) or MISSING,
        every(held),
    )


def _most_beats_fewest(setting: str, by_nu: ByNu) -> Claim:
    most = _most(by_nu)
    one, other = by_nu.get(most), by_nu.get(FEWEST)
    return Claim(
        f"{_named(setting)}: with {_steps(most)} at test, {_label(most)} beats "
        f"{_label(FEWEST)}",
        compared({_label(most): one, _label(FEWEST): other}, most),
        more(micro(one, most), micro(other, most)),
    )


def _in_fewer_rounds(setting: str, by_nu: ByNu) -> Claim:
    most = _most(by_nu)
    return Claim(
        f"{_named(setting)}: {_label(most)} reaches {_label(FEWEST)}'s final "
        "validation accuracy in fewer rounds",
        *_rounds_compared(by_nu.get(most), by_nu.get(FEWEST), most),
    )


def _rounds_compared(
    history: pd.DataFrame | None, fewest: pd.DataFrame | None, most: int
) -> tuple[str, Held]:
    both = {_label(most): history, _label(FEWEST): fewest}
    if words := sentences(both):
        return words, DIVERGED
    if min(len(curve(table, ACCURACY)) for table in (history, fewest)) < 2:
        return MISSING, None
    target = last(fewest, ACCURACY)
    own, others = (_reaching(h, target, "round") for h in (history, fewest))
    reached = "never" if np.isnan(own) else _round_text(history, target)
    text = (
        f"{100 * target:.2f} %: {_label(most)} {reached}, {_label(FEWEST)} first at "
        f"{_round_text(fewest, target)}"
    )
    return text, False if np.isnan(own) else more(others, own)


def _reaching(history: pd.DataFrame, target: float, column: str) -> float:
    """The round at which the target was reached, or what had been spent until then."""
    row = first_reaching(history, target)
    return np.nan if row is None else float(row.get(column, np.nan))


def _round_text(history: pd.DataFrame, target: float) -> str:
    """ "round 140 after 2.50 TFLOP": a round costs the more, the larger its nu."""
    flops = _reaching(history, target, "flops")
    spent = "" if np.isnan(flops) else f" after {flops_text(flops)}"
    return f"round {_reaching(history, target, 'round'):.0f}{spent}"


def _settings(results: Results) -> list[str]:
    return list(dict.fromkeys([*results.scores, *results.histories]))


def _most(by_nu: ByNu) -> int:
    """The largest nu, and more than the fewest steps even where there is none."""
    return max([*by_nu, FEWEST + 1])


def _named(setting: str) -> str:
    return setting[:1].upper() + setting[1:]


def _label(nu: int) -> str:
    return f"ν = {nu}"


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _headings(table: pd.DataFrame) -> dict[str, Column]:
    steps = [name for name in table if name.startswith(STEPS)]
    counts = {name: int(name.removeprefix(STEPS)) for name in steps}
    return {
        "setting": Column("Users", str),
        "nu_train": Column("ν", str),
        **{k: Column(_steps(n), "{:.1f}".format) for k, n in counts.items()},
    }


ROUND_COLUMNS = {
    "setting": Column("Users", str),
    "nu_train": Column("ν", str),
    "final": Column("Final accuracy", "{:.1f} %".format),
    "best": Column("Best accuracy", "{:.1f} %".format),
    "round_reaching": Column("Reaches ν = 1's final at round", "{:,}".format),
    "flops_reaching": Column("… after computing", flops_text),
}
