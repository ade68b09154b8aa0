"""The study of Per-FedAvg (Fallah et al. 2020, arXiv 2002.07948).

Does training for one step of personalisation give better personal models than training
for none and taking that step all the same? Users hold few classes each; tau is the
number of local steps a round. Everything here is a pure function of ``Results``.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedmeta.reporting.claims import Claim, every, more, number, opposite
from fedmeta.reporting.divergence import Diverged, divergence, training_cell
from fedmeta.reporting.study_figures import (
    accuracy_by_round,
    heat_map,
    magnitude_by_round,
)
from fedmeta.reporting.study_page import Section
from fedmeta.reporting.study_scores import compared, curve, micro, standard_error
from fedmeta.reporting.style import INK, LABEL_SIZE, SMALL_SIZE, panels, say
from fedmeta.reporting.wording import MISSING, Column

Variant = tuple[str, int]  # a method and its tau

HEADING = "Per-FedAvg: federated learning of a model to be personalised"

BASELINE = "FedAvg + update"
FO, HF, EXACT = "Per-FedAvg (FO)", "Per-FedAvg (HF)", "Per-FedAvg (exact)"
METHODS = {BASELINE: "fedavg_update", FO: "fo", HF: "hf", EXACT: "exact"}
EPOCHS = 1  # of personalisation, as the paper tests
NORM, PAPER = "meta_gradient_norm", "paper_"
# Kinds of users, as their ids begin: some hold as many records of each of five classes,
# others nearly all of one.
FIVE, ONE, OTHER = "five", "one", "other"

# Accuracies of the paper's table for MNIST, alpha = 0.01, in percent.
MNIST: Mapping[Variant, float] = {
    (BASELINE, 10): 75.96,
    (FO, 10): 78.00,
    (HF, 10): 79.85,
    (BASELINE, 4): 60.18,
    (FO, 4): 64.55,
    (HF, 4): 70.94,
}


class Results(NamedTuple):
    """What the study measured; variants and distances may be missing.

    Attributes:
        scores: A row a test user and number of personalisation epochs.
        histories: A row an evaluated round, with the norm of the meta-gradient.
        distances: A row a pair of users, in the order of the users.
        source: What the data are, for titles and tables.
        paper: Published accuracies to show beside ours, in percent.
    """

    scores: Mapping[Variant, pd.DataFrame]
    histories: Mapping[Variant, pd.DataFrame]
    distances: pd.DataFrame
    source: str
    paper: Mapping[Variant, float] = MNIST


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The study's tables: "results" and "distances"."""
    return {
        "results": results_table(results.scores, results.source, results.paper),
        "distances": distances_table(results.distances, results.source),
    }


def figures(results: Results) -> dict[str, Figure]:
    """The study's figures: "accuracy", "meta_gradient" and "distances"."""
    groups, source = _by_tau(results.histories), results.source
    return {
        "accuracy": accuracy_by_round(
            groups, f"Validation accuracy after the update · {source}"
        ),
        "meta_gradient": magnitude_by_round(
            groups,
            NORM,
            f"Norm of the meta-gradient by round · {source}",
            "Euclidean norm",
        ),
        "distances": distance_maps(results.distances, source),
    }


def claims(results: Results) -> list[Claim]:
    """What the paper says of the methods and of its users, checked here."""
    scores, histories = results.scores, results.histories
    taus = _taus(scores, histories)
    return [
        *(_not_below(scores, tau) for tau in taus),
        *(_above_baseline(scores, tau) for tau in taus),
        *(_falls_more(histories, tau) for tau in taus),
        _further_apart(results.distances),
    ]


def summary(results: Results) -> str:
    """The outcome in a sentence for each tau."""
    sentences = []
    for tau in _taus(results.scores, results.histories):
        reached = {
            method: micro(results.scores.get((method, tau)), EPOCHS)
            for method in METHODS
        }
        measured = {k: v for k, v in reached.items() if not np.isnan(v)}
        if not measured:
            continue
        best = max(measured, key=measured.__getitem__)
        text = (
            f"With τ = {tau} local steps a round, {best} is best: {measured[best]:.1f} "
            "% of the test users' query records are classified correctly after one "
            "epoch of personalisation"
        )
        if best != BASELINE and BASELINE in measured:
            points = measured[best] - measured[BASELINE]
            text += f", {points:.1f} points more than with {BASELINE}"
        sentences.append(f"{text}.")
    return " ".join(sentences) or "No test user has been evaluated."


def sections(results: Results) -> list[Section]:
    """The parts of the page below the claims."""
    made = tables(results)
    note = ""
    if made["results"].filter(like=PAPER).notna().any(axis=None):
        note = (
            " The paper's numbers are for MNIST, to be compared in order only, not "
            "in height."
        )
    return [
        Section(
            "Which method personalises best?",
            "Percent of all test users' query records classified correctly by the "
            "shared model as it is → after one epoch on the user's own records. After "
            "± stands the standard error over users of the second number: how much "
            "it owes to which users were tested; it says nothing of other seeds. FO "
            "is first-order, HF Hessian-free, exact the meta-gradient itself; FedAvg "
            f"+ update is FedAvg's model, personalised all the same.{note}",
            table=_shown(made["results"]),
            columns=RESULT_COLUMNS,
        ),
        Section(
            "How fast does each method learn?",
            "Accuracy of the validation users' personal models, by round of training.",
            figure="accuracy",
            caption="A curve that rises earlier needs fewer rounds; one that ends "
            "higher is more accurate. τ is the number of local steps a round.",
        ),
        Section(
            "Does training lower the meta-gradient?",
            "The paper's theorems bound the norm of the gradient of its objective, "
            "the mean over users of the loss after one step. It is measured here on "
            "the training users along training.",
            figure="meta_gradient",
            caption="Per-FedAvg goes down this gradient, so that its curves should "
            "fall; FedAvg follows another, and its curve need not.",
        ),
        Section(
            "How different are the users?",
            "The theorems' errors grow with the distance between users: the total "
            "variation of their labels' distributions, from 0 to 1, and the "
            "1-Wasserstein distance of their features.",
            table=made["distances"],
            columns=DISTANCE_COLUMNS,
            figure="distances",
            caption="A cell is a pair of users; light is far apart. Users of kind "
            "five hold as many records of each of five classes and should be alike; "
            "those of kind one hold mostly one class, and should differ from them, and "
            "from each other unless they hold the same.",
        ),
    ]


def results_table(
    scores: Mapping[Variant, pd.DataFrame],
    source: str,
    paper: Mapping[Variant, float] | None = None,
) -> pd.DataFrame:
    """Test accuracy by tau and method, beside the paper's.

    Args:
        scores: A row a test user and number of personalisation epochs.
        source: What the data are; repeated in every row.
        paper: Published accuracies in percent; variants may be missing.

    Returns:
        A row a tau. Of every method: micro accuracy in percent before and after one
        epoch of personalisation, and the standard error over users of the latter;
        "paper_..." where the paper has a number of the method.
    """
    published = {
        name: {tau: value for (m, tau), value in (paper or {}).items() if m == method}
        for method, name in METHODS.items()
    }
    rows = []
    for tau in _taus(scores):
        row: dict[str, object] = {"tau": tau, "source": source}
        for method, name in METHODS.items():
            own = scores.get((method, tau))
            row[f"{name}_before"] = micro(own, 0)
            row[f"{name}_after"] = micro(own, EPOCHS)
            row[f"{name}_se"] = standard_error(own, EPOCHS)
        for name, values in published.items():
            if values:
                row[f"{PAPER}{name}"] = values.get(tau, np.nan)
        row |= training_cell({method: scores.get((method, tau)) for method in METHODS})
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["tau", "source"])


def distances_table(distances: pd.DataFrame, source: str) -> pd.DataFrame:
    """Mean distances between users by their kinds, a row a pair of kinds."""
    pairs = zip(distances["first"], distances["second"], strict=True)
    kinds = [_kinds(one, other) for one, other in pairs]
    groups = distances.assign(kinds=kinds).groupby("kinds", sort=False)
    table = groups.agg(
        pairs=("first", "size"),
        label_tv=("label_tv", "mean"),
        feature_w1=("feature_w1", "mean"),
    ).reset_index()
    table.insert(1, "source", source)
    return table


def distance_maps(distances: pd.DataFrame, source: str) -> Figure:
    """Heat maps of the distances of all pairs of users, in the users' order."""
    title = f"Distances between users · {source}"
    figure, axes = panels(2, title, (11.5, 5))
    users = list(dict.fromkeys([*distances["first"], *distances["second"]]))
    measures = {
        "label_tv": "labels: total variation",
        "feature_w1": "features: 1-Wasserstein",
    }
    for panel, (column, name) in zip(axes, measures.items(), strict=True):
        panel.set_title(name, fontsize=LABEL_SIZE, loc="left", color=INK)
        if not users:
            say(panel, "no pair of users")
            continue
        highest = 1.0 if column == "label_tv" else float(distances[column].max())
        image = heat_map(panel, _matrix(distances, users, column), 0.0, highest)
        panel.set_aspect("equal")
        bar = figure.colorbar(image, ax=panel, shrink=0.8)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL_SIZE)
        _mark_kinds(panel, users)
    return figure


def _taus(*by_variant: Mapping[Variant, pd.DataFrame]) -> list[int]:
    """The taus of any variant, rising."""
    return sorted({tau for tables in by_variant for _, tau in tables})


def _by_tau(
    histories: Mapping[Variant, pd.DataFrame],
) -> dict[str, dict[str, pd.DataFrame]]:
    return {
        f"τ = {tau}": {
            method: histories[method, tau]
            for method in METHODS
            if (method, tau) in histories
        }
        for tau in _taus(histories)
    }


def _not_below(scores: Mapping[Variant, pd.DataFrame], tau: int) -> Claim:
    one, other = scores.get((HF, tau)), scores.get((FO, tau))
    below = more(micro(other, EPOCHS), micro(one, EPOCHS))
    return Claim(
        f"τ = {tau}: Hessian-free is at least as accurate as first-order",
        compared({HF: one, FO: other}, EPOCHS),
        opposite(below),
    )


def _above_baseline(scores: Mapping[Variant, pd.DataFrame], tau: int) -> Claim:
    one, other = scores.get((HF, tau)), scores.get((BASELINE, tau))
    return Claim(
        f"τ = {tau}: Hessian-free is more accurate than {BASELINE}",
        compared({HF: one, BASELINE: other}, EPOCHS),
        more(micro(one, EPOCHS), micro(other, EPOCHS)),
    )


def _falls_more(histories: Mapping[Variant, pd.DataFrame], tau: int) -> Claim:
    """Of the norm's last value to its first, FedAvg's share must be the largest."""
    norms = {m: curve(histories.get((m, tau)), NORM) for m in METHODS}
    trained = {m: norm for m, norm in norms.items() if len(norm) > 1}
    left = {m: float(norm.iloc[-1] / norm.iloc[0]) for m, norm in trained.items()}
    lost = {m: divergence(histories.get((m, tau))) for m in METHODS}
    lost = {m: words for m, words in lost.items() if words}
    texts = [
        f"{m}: {norm.iloc[0]:#.3g} → {norm.iloc[-1]:#.3g} (× {left[m]:.2f})"
        for m, norm in trained.items()
    ]
    texts += [f"{m} {words}" for m, words in lost.items()]
    left |= {m: Diverged(words) for m, words in lost.items()}
    baseline = left.get(BASELINE, np.nan)
    return Claim(
        f"τ = {tau}: the meta-gradient's norm falls more under Per-FedAvg than under "
        "FedAvg",
        "; ".join(texts) or MISSING,
        every([more(baseline, share) for m, share in left.items() if m != BASELINE]),
    )


def _further_apart(distances: pd.DataFrame) -> Claim:
    table = distances_table(distances, "").set_index("kinds")
    table = table.reindex([_kinds("one", "one"), _kinds("five", "five")])
    held, texts = [], []
    for column, name in [("label_tv", "labels"), ("feature_w1", "features")]:
        one, five = table[column].astype(float)
        held.append(more(one, five))
        texts.append(f"{name}: {number(one)} among one, {number(five)} among five")
    return Claim(
        "Users of mostly one class are further from each other than users of five",
        "; ".join(texts),
        every(held),
    )


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The results as words, a column a method."""
    words = {"tau": table["tau"]}
    for method, name in METHODS.items():
        words[method] = [_cell(row, name) for _, row in table.iterrows()]
    others = [n for n in table if n.startswith(PAPER) or n == "training"]
    return pd.DataFrame(words).join(table[others])


def _cell(row: pd.Series, name: str) -> str:
    before, after, error = (row[f"{name}_{key}"] for key in ("before", "after", "se"))
    if np.isnan(after):
        return MISSING
    text = f"{after:.1f}" if np.isnan(before) else f"{before:.1f} → {after:.1f}"
    return text if np.isnan(error) else f"{text} ± {error:.1f}"


def _kind(user: str) -> str:
    kind = user.partition("-")[0]
    return kind if kind in (FIVE, ONE) else OTHER


def _kinds(one: str, other: str) -> str:
    order = (FIVE, ONE, OTHER)
    return " – ".join(sorted((_kind(one), _kind(other)), key=order.index))


def _matrix(distances: pd.DataFrame, users: list[str], column: str) -> np.ndarray:
    """[users, users], blank from a user to itself."""
    place = {user: i for i, user in enumerate(users)}
    first = distances["first"].map(place).to_numpy()
    second = distances["second"].map(place).to_numpy()
    matrix = np.full((len(users), len(users)), np.nan)
    matrix[first, second] = matrix[second, first] = distances[column]
    return matrix


def _mark_kinds(panel: Axes, users: list[str]) -> None:
    """Each kind's name at its users, and white lines between kinds."""
    kinds = [_kind(user) for user in users]
    starts = [i for i, kind in enumerate(kinds) if not i or kind != kinds[i - 1]]
    ends = [*starts[1:], len(users)]
    for start in starts[1:]:
        panel.axhline(start - 0.5, color="white", linewidth=1.5)
        panel.axvline(start - 0.5, color="white", linewidth=1.5)
    middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    names = [f"{kinds[a]}\n{b - a} users" for a, b in zip(starts, ends, strict=True)]
    panel.set_xticks(middles, names)
    panel.set_yticks(middles, names)
    panel.tick_params(length=0)


RESULT_COLUMNS = {
    "tau": Column("τ", str),
    **{
        f"{PAPER}{name}": Column(
            f"Paper, MNIST: {method.removeprefix('Per-FedAvg ').strip('()')}", number
        )
        for method, name in METHODS.items()
    },
}
DISTANCE_COLUMNS = {
    "kinds": Column("Kinds of users", str),
    "pairs": Column("Pairs", lambda count: f"{count:,}"),
    "label_tv": Column("Mean total variation of labels", lambda value: f"{value:.3f}"),
    "feature_w1": Column("Mean distance of features", lambda value: f"{value:.3f}"),
}
