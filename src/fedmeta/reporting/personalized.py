"""The study of FedAvg read as meta-learning (Jiang et al. 2019, arXiv 1909.12488).

Which training gives a shared model that is good as it is and easy to personalise?
FedAvg with E local epochs is stage 1; stage 2 goes on from its model with Reptile; a
model trained in one place on all records is the comparison. Everything here is a pure
function of ``Results``.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedmeta.reporting.claims import DIVERGED, Claim, every, more, number
from fedmeta.reporting.divergence import divergence, judged, sentences, training_cell
from fedmeta.reporting.study_page import Section
from fedmeta.reporting.study_scores import curve, epochs_tested, micro
from fedmeta.reporting.style import (
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    label_ends,
    panels,
    say,
    shades,
)
from fedmeta.reporting.wording import MISSING, Column

Variant = int | str  # FedAvg's E, or CENTRAL

HEADING = "FedAvg read as meta-learning: initial and personalised accuracy"

CENTRAL = "central"
PERSONALISED = 5  # epochs, unless a study says otherwise
BEFORE, AFTER = "validation_accuracy_before", "validation_accuracy_after"
STAGES = {1: "FedAvg", 2: "then Reptile"}


class Results(NamedTuple):
    """What the study measured; variants may be missing.

    Attributes:
        scores: By stage (1 or 2) and variant (an E, or "central" in stage 1): a row
            a test user and number of personalisation epochs.
        histories: By stage and variant: a row an evaluated round.
        source: What the data are, for titles and tables.
        personalised: The number of epochs that claims mean by "personalised".
    """

    scores: Mapping[int, Mapping[Variant, pd.DataFrame]]
    histories: Mapping[int, Mapping[Variant, pd.DataFrame]]
    source: str
    personalised: int = PERSONALISED


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The study's tables: "accuracy" by epochs, and "stability" of stage 1."""
    return {
        "accuracy": accuracy_table(results.scores, results.source),
        "stability": stability_table(results.histories.get(1, {}), results.source),
    }


def figures(results: Results) -> dict[str, Figure]:
    """The study's figures: "epochs" and "initial_personalised"."""
    return {
        "epochs": epoch_curves(results.scores, results.source),
        "initial_personalised": personalised_by_initial(
            results.histories.get(1, {}), results.source
        ),
    }


def claims(results: Results) -> list[Claim]:
    """What the paper says of the two stages and of central training, checked here."""
    first, second = (results.scores.get(stage, {}) for stage in STAGES)
    epochs, histories = results.personalised, results.histories.get(1, {})
    return [
        _for_every_e(
            f"FedAvg(E): {_epochs(epochs)} of personalisation raise accuracy, for "
            "every E",
            {e: (micro(first[e], 0), micro(first[e], epochs)) for e in _es(first)},
        ),
        _for_every_e(
            "Reptile after FedAvg(E) raises the initial accuracy, for every E",
            _between(first, second, 0),
        ),
        _for_every_e(
            f"Reptile after FedAvg(E) raises the accuracy after {_epochs(epochs)}, for "
            "every E",
            _between(first, second, epochs),
        ),
        *(_central_is_worse(e, histories) for e in _es(histories)),
    ]


def summary(results: Results) -> str:
    """The best personalised accuracy, and what the stages gave."""
    epochs = results.personalised
    reached = {
        (stage, e): micro(table, epochs)
        for stage, by_variant in results.scores.items()
        for e, table in by_variant.items()
    }
    measured = {k: v for k, v in reached.items() if not np.isnan(v)}
    if not measured:
        return "No test user has been evaluated."
    stage, variant = max(measured, key=measured.__getitem__)
    name = "Central training" if variant == CENTRAL else _name(variant)
    how = "" if stage == 1 else f", {STAGES[stage]},"
    initial = micro(results.scores[stage][variant], 0)
    text = (
        f"{name}{how} personalises best: {measured[stage, variant]:.1f} % of "
        "the test users' query records are classified correctly after "
        f"{_epochs(epochs)} on a user's own records"
    )
    return f"{text}." if np.isnan(initial) else f"{text}, {initial:.1f} % before."


def sections(results: Results) -> list[Section]:
    """The parts of the page below the claims."""
    made = tables(results)
    return [
        Section(
            "What does personalisation add, and the second stage?",
            "Percent of all test users' query records classified correctly by the "
            "shared model as it is (initial) and after epochs on the user's own "
            "records; E is the number of local epochs a round in FedAvg. Stage 1 is "
            "FedAvg with momentum on the server, stage 2 goes on with Reptile and Adam "
            "on the server.",
            table=made["accuracy"],
            columns=_headings(made["accuracy"]),
            figure="epochs",
            caption="A curve's left end is the shared model. One that rises steeply "
            "needs little personalisation; one that falls again is overfitting the "
            "user's few records.",
        ),
        Section(
            "Which training makes a model easy to personalise?",
            "Accuracies of the validation users in stage 1, at every evaluated round.",
            figure="initial_personalised",
            caption="A curve is a training, from its first evaluated round at the left "
            "to its last, the dot. At one initial accuracy, the higher curve is "
            "easier to personalise; on a grey line, personalisation adds nothing.",
        ),
        Section(
            "How much does accuracy change from round to round?",
            "Standard deviation, in points, of the validation accuracies in the last "
            "quarter of stage 1's evaluated rounds: low is stable. A model that is "
            "still getting better is less stable by this measure.",
            table=made["stability"],
            columns=STABILITY_COLUMNS,
        ),
    ]


def accuracy_table(
    scores: Mapping[int, Mapping[Variant, pd.DataFrame]], source: str
) -> pd.DataFrame:
    """Micro accuracy in percent, a row a variant.

    Returns:
        A column ``stage<s>_<n>`` for every stage s and number n of personalisation
        epochs.
    """
    variants = dict.fromkeys(v for by_variant in scores.values() for v in by_variant)
    rows = [
        {"variant": str(variant), "source": source}
        | {
            f"stage{stage}_{n}": micro(by_variant.get(variant), n)
            for stage, by_variant in sorted(scores.items())
            for n in epochs_tested(by_variant)
        }
        | training_cell({f"stage {s}": v.get(variant) for s, v in scores.items()})
        for variant in _in_order(variants)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["variant", "source"])


def stability_table(
    histories: Mapping[Variant, pd.DataFrame], source: str
) -> pd.DataFrame:
    """Standard deviation of the last quarter of validation accuracies, in points.

    Returns:
        A row a variant with ``evaluations``, the number in that quarter, and the
        deviation ``initial`` and ``personalised``, missing where there is but one.
    """
    rows = []
    for variant in _in_order(histories):
        before, after = (
            _last_quarter(curve(judged(histories[variant]), name))
            for name in (BEFORE, AFTER)
        )
        rows.append(
            {
                "variant": str(variant),
                "source": source,
                "evaluations": len(after),
                "initial": 100 * before.std(),
                "personalised": 100 * after.std(),
                **training_cell({"": histories[variant]}),
            }
        )
    columns = ["variant", "source", "evaluations", "initial", "personalised"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def at_equal_initial(
    one: pd.DataFrame | None, other: pd.DataFrame | None
) -> tuple[float, float, float]:
    """Two trainings' personalised accuracies at the same initial accuracy.

    That is the highest initial accuracy that both reach. Each personalised accuracy is
    interpolated between the two evaluated rounds between which the training first
    reaches it.

    Returns:
        The initial accuracy and the two personalised ones, fractions; all nan if a
        training has never been more accurate than when it began.
    """
    curves = [_initial_and_personalised(table) for table in (one, other)]
    if any(len(pairs) < 2 for pairs in curves):
        return np.nan, np.nan, np.nan
    initial = min(float(pairs[BEFORE].max()) for pairs in curves)
    reached = [_when_reaching(pairs, initial) for pairs in curves]
    if np.isnan(reached).any():
        return np.nan, np.nan, np.nan
    return initial, reached[0], reached[1]


def epoch_curves(
    scores: Mapping[int, Mapping[Variant, pd.DataFrame]], source: str
) -> Figure:
    """Test accuracy by number of personalisation epochs, a panel a stage."""
    title = f"Test accuracy by epochs of personalisation · {source}"
    figure, axes = panels(2, title, (11.5, 4.4), share_y=True)
    curves = {
        stage: {v: _by_epochs(table) for v, table in scores.get(stage, {}).items()}
        for stage in STAGES
    }
    colours = _colours(v for by_variant in scores.values() for v in by_variant)
    values = [x for c in curves.values() for series in c.values() for x in series]
    if values:  # of both, before labels are placed
        margin = max(0.08 * (max(values) - min(values)), 0.005)
        axes[0].set_ylim(min(values) - margin, max(values) + margin)
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0].set_ylabel("query records classified correctly", fontsize=LABEL_SIZE)
    for panel, (stage, by_variant) in zip(axes, curves.items(), strict=True):
        name = f"stage {stage}: {STAGES[stage]}"
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        _draw_by_epochs(panel, by_variant, colours)
    return figure


def personalised_by_initial(
    histories: Mapping[Variant, pd.DataFrame], source: str
) -> Figure:
    """Validation accuracy after against before personalisation, along training.

    Once as it is, and once as what personalisation adds.
    """
    title = f"Personalised by initial accuracy along training · {source}"
    figure, axes = panels(2, title, (11.5, 4.6))
    curves = {v: _initial_and_personalised(histories[v]) for v in _in_order(histories)}
    curves = {variant: pairs for variant, pairs in curves.items() if len(pairs)}
    colours = _colours(curves)
    for variant, pairs in curves.items():
        initial, after = pairs[BEFORE].to_numpy(), pairs[AFTER].to_numpy()
        for panel, height in zip(axes, (after, after - initial), strict=True):
            style = {"color": colours[variant], "linestyle": _line(variant)}
            label = f"{_name(variant)} {divergence(histories[variant])}".strip()
            panel.plot(initial, height, linewidth=1.6, label=label, **style)
            panel.plot(initial[-1], height[-1], "o", color=colours[variant])
    names = ["personalised accuracy", "what personalisation adds, in points"]
    for panel, name in zip(axes, names, strict=True):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        panel.set_xlabel("initial accuracy", fontsize=LABEL_SIZE)
        for side in (panel.xaxis, panel.yaxis):
            side.set_major_formatter(PercentFormatter(1.0))
        if not curves:
            say(panel, "no round has been evaluated")
    if curves:
        axes[0].axline((0, 0), slope=1, color="#888888", linewidth=0.8)
        axes[1].axhline(0, color="#888888", linewidth=0.8)
        place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        axes[1].legend(frameon=False, fontsize=SMALL_SIZE, **place)
    return figure


def _for_every_e(claim: str, pairs: Mapping[int, tuple[float, float]]) -> Claim:
    """Whether the second of every pair is above the first."""
    return Claim(
        claim,
        "; ".join(
            f"E = {e}: {number(low)} → {number(high)}"
            for e, (low, high) in pairs.items()
        )
        or MISSING,
        every([more(high, low) for low, high in pairs.values()]),
    )


def _between(
    first: Mapping[Variant, pd.DataFrame],
    second: Mapping[Variant, pd.DataFrame],
    epochs: int,
) -> dict[int, tuple[float, float]]:
    """Accuracies after stage 1 and after stage 2."""
    return {
        e: (micro(first.get(e), epochs), micro(second.get(e), epochs))
        for e in _es({**first, **second})
    }


def _central_is_worse(e: int, histories: Mapping[Variant, pd.DataFrame]) -> Claim:
    initial, own, central = at_equal_initial(histories[e], histories.get(CENTRAL))
    figures = (
        f"at {number(100 * initial)} initial: {_name(e)} {number(100 * own)}, central "
        f"{number(100 * central)}"
    )
    both = {_name(e): histories[e], _name(CENTRAL): histories.get(CENTRAL)}
    diverged = sentences(both)
    return Claim(
        f"E = {e}: at equal initial accuracy, the centrally trained model personalises "
        "worse",
        diverged or (MISSING if np.isnan(initial) else figures),
        DIVERGED if diverged else more(own, central),
    )


def _initial_and_personalised(history: pd.DataFrame | None) -> pd.DataFrame:
    """Validation accuracies before and after personalisation, in order of rounds."""
    both = {name: curve(history, name) for name in (BEFORE, AFTER)}
    return pd.DataFrame(both).dropna()


def _when_reaching(pairs: pd.DataFrame, initial: float) -> float:
    """Personalised accuracy where the initial one first rises to ``initial``."""
    before, after = pairs[BEFORE].to_numpy(), pairs[AFTER].to_numpy()
    place = int(np.argmax(before >= initial))
    if place == 0:  # training has not raised it
        return np.nan
    low, high = before[place - 1], before[place]
    share = (initial - low) / (high - low)
    return float(after[place - 1] + share * (after[place] - after[place - 1]))


def _last_quarter(values: pd.Series) -> pd.Series:
    return values.iloc[len(values) - int(np.ceil(len(values) / 4)) :]


def _by_epochs(scores: pd.DataFrame) -> pd.Series:
    """Micro accuracy, fractions by number of epochs."""
    epochs = epochs_tested({"own": scores})
    values = pd.Series({n: micro(scores, n) / 100 for n in epochs}, dtype=float)
    return values.dropna()


def _draw_by_epochs(
    panel: Axes, curves: Mapping[Variant, pd.Series], colours: Mapping[Variant, str]
) -> None:
    panel.set_xlabel("epochs of personalisation", fontsize=LABEL_SIZE)
    ends = []
    for variant in _in_order(curves):
        values, colour = curves[variant], colours[variant]
        if values.empty:
            continue
        style = {"color": colour, "linestyle": _line(variant), "linewidth": 2}
        panel.plot(values, marker="o", markersize=3.5, **style)
        last = float(values.iloc[-1])
        ends.append((f"{_name(variant)} {last:.1%}", colour, last))
    if not ends:
        say(panel, "no test user")
        return
    panel.set_xticks(sorted({n for values in curves.values() for n in values.index}))
    label_ends(panel, ends)


def _es(by_variant: Mapping[Variant, pd.DataFrame]) -> list[int]:
    return sorted(variant for variant in by_variant if variant != CENTRAL)


def _in_order(variants: Iterable[Variant]) -> list[Variant]:
    """Every E from the smallest, then central training."""
    return sorted(variants, key=lambda variant: (variant == CENTRAL, variant))


def _colours(variants: Iterable[Variant]) -> dict[Variant, str]:
    """Shades from the smallest E; central training, which is no E, is grey."""
    ordered = _in_order(dict.fromkeys(variants))
    shaded = shades([variant for variant in ordered if variant != CENTRAL])
    return {variant: shaded.get(variant, "#444444") for variant in ordered}


def _line(variant: Variant) -> str:
    return "--" if variant == CENTRAL else "-"


def _name(variant: Variant) -> str:
    return "central training" if variant == CENTRAL else f"FedAvg({variant})"


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _headings(table: pd.DataFrame) -> dict[str, Column]:
    headings = {"variant": VARIANT}
    for name in table:
        if name.startswith("stage"):
            stage, _, count = name.removeprefix("stage").partition("_")
            when = "initial" if count == "0" else f"after {_epochs(int(count))}"
            headings[name] = Column(
                f"Stage\N{NO-BREAK SPACE}{stage}, {when}", "{:.1f}".format
            )
    return headings


VARIANT = Column("E", str)
STABILITY_COLUMNS = {
    "variant": VARIANT,
    "evaluations": Column("Evaluated rounds", str),
    "initial": Column("Initial accuracy", "{:.2f}".format),
    "personalised": Column("Personalised accuracy", "{:.2f}".format),
}
