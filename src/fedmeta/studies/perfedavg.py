"""Per-FedAvg's own experiment (Fallah et al. 2020, arXiv 2002.07948, section 5).

Does training for one step of personalisation give better personal models than training
for none and taking that step all the same? Users hold few classes each; tau is the
number of local steps a round.
"""

import numpy as np
import pandas as pd

from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.studies import label_skew, writers
from fedmeta.pipelines.studies.experiment import Experiment, Variant
from fedmeta.pipelines.studies.nodes import measure
from fedmeta.reporting import measures as m
from fedmeta.reporting.curves import Axis, by_round, curves
from fedmeta.reporting.figure_kinds import Map, heat_maps
from fedmeta.reporting.phrases import beats, falls_more, greatest
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import shown
from fedmeta.reporting.verdicts import Claim, every, greater
from fedmeta.reporting.wording import MISSING
from fedmeta.studies.study import Study

HOME, NORM = "femnist_per_fedavg_study", "meta_gradient_norm"
TAUS = (4, 10)  # local steps a round
# Label, algorithm, and the name of its columns.
METHODS = {
    "fedavg": ("FedAvg + update", "fedavg", "fedavg_update"),
    "fo": ("Per-FedAvg (FO)", "per_fedavg", "fo"),
    "hf": ("Per-FedAvg (HF)", "per_fedavg", "hf"),
    "exact": ("Per-FedAvg (exact)", "per_fedavg", "exact"),
}
BASELINE, FO, HF, _ = LABELS = [label for label, _, _ in METHODS.values()]
BETTER = {
    "Hessian-free is at least as accurate as first-order": (HF, FO),
    f"Hessian-free is more accurate than {BASELINE}": (HF, BASELINE),
}
FALLS = "the meta-gradient's norm falls more under Per-FedAvg than under FedAvg"
FURTHER = "Users of mostly one class are further from each other than users of five"
# Accuracies of the paper's table for MNIST, alpha = 0.01, in percent, by tau.
MNIST = {
    "fedavg_update": {4: 60.18, 10: 75.96},
    "fo": {4: 64.55, 10: 78.00},
    "hf": {4: 70.94, 10: 79.85},
}
# Kinds of users, as their ids begin: some hold as many records of each of five classes,
# others nearly all of one.
KINDS = ("five", "one", "other")
DISTANCES = {
    "label_tv": "labels: total variation",
    "feature_w1": "features: 1-Wasserstein",
}


def report(results: Results, distances: pd.DataFrame) -> Report:
    """Accuracies by method and tau beside the paper's, norms, distances of users."""
    taus = {tau: results.where(tau=tau) for tau in results.values("tau")}
    methods = {
        tau: {label: found.where(method=label) for label in LABELS}
        for tau, found in taus.items()
    }
    table = m.tabulate(results, ["tau"], _measured)
    for name, published in MNIST.items():
        table[f"paper_{name}"] = table["tau"].map(published)
    groups = {f"τ = {tau}": found for tau, found in methods.items()}
    apart = _by_kinds(distances, results.source)
    learning = curves(
        by_round(groups, m.AFTER),
        f"Validation accuracy after the update · {results.source}",
    )
    norms = curves(
        by_round(groups, NORM),
        f"Norm of the meta-gradient by round · {results.source}",
        Axis("Euclidean norm (log scale)", "{:.2g}", log=True),
    )
    far = heat_maps(
        _maps(distances),
        f"Distances between users · {results.source}",
        nothing="no pair of users",
    )
    return Report(
        "Per-FedAvg: federated learning of a model to be personalised",
        " ".join(filter(None, map(_outcome, methods, methods.values())))
        or "No test user has been evaluated.",
        {"results": table, "distances": apart},
        [
            Section("Which method personalises best?", RESULTS, shown(_shown(table))),
            Section(
                "How fast does each method learn?",
                "Accuracy of the validation users' personal models, by round of "
                "training.",
                figures={"accuracy": (learning, CURVES)},
            ),
            Section(
                "Does training lower the meta-gradient?",
                "The paper's theorems bound the norm of the gradient of its objective,"
                " the mean over users of the loss after one step. It is measured here"
                " on the training users along training.",
                figures={"meta_gradient": (norms, NORMS)},
            ),
            Section(
                "How different are the users?",
                "The theorems' errors grow with the distance between users: the total "
                "variation of their labels' distributions, from 0 to 1, and the "
                "1-Wasserstein distance of their features.",
                shown(apart),
                {"distances": (far, MAPS)},
            ),
        ],
        _claims(methods, apart),
    )


def _measured(results: Results) -> dict[str, m.Value]:
    values = {}
    for label, _, name in METHODS.values():
        found = results.where(method=label)
        values[f"{name}_before"] = m.accuracy(found, epochs=0)
        values[f"{name}_after"] = m.accuracy(found, epochs=1)
        values[f"{name}_se"] = m.standard_error(found, epochs=1)
    return values


def _claims(methods: dict[int, dict[str, Results]], apart: pd.DataFrame) -> list[Claim]:
    found = [
        Claim(f"τ = {tau}: {claim}", *beats({k: at[k] for k in both}, epochs=1))
        for claim, both in BETTER.items()
        for tau, at in methods.items()
    ]
    found += [
        Claim(f"τ = {tau}: {FALLS}", *falls_more(at, NORM, BASELINE))
        for tau, at in methods.items()
    ]
    kinds = apart.set_index("kinds").reindex(["one – one", "five – five"])
    pairs = {
        name.partition(":")[0]: [m.known(x) for x in kinds[column]]
        for column, name in DISTANCES.items()
    }
    figures = (f"{k}: {a} among one, {b} among five" for k, (a, b) in pairs.items())
    further = every(greater(one, five) for one, five in pairs.values())
    return [*found, Claim(FURTHER, "; ".join(figures), further)]


def _outcome(tau: int, found: dict[str, Results]) -> str:
    right = {label: m.accuracy(r, epochs=1) for label, r in found.items()}
    if (top := greatest(right)) is None:
        return ""
    more = right[top] - right[BASELINE]
    better = top != BASELINE and not more.missing
    return (
        f"With τ = {tau} local steps a round, {top} is best: {right[top]:.1f} % of the "
        "test users' query records are classified correctly after one epoch of "
        "personalisation"
        + (f", {more:.1f} points more than with {BASELINE}." if better else ".")
    )


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The results as words, a column a method."""
    words = {
        label: [_with_error(row, name) for _, row in table.iterrows()]
        for label, _, name in METHODS.values()
    }
    others = [n for n in table if n.startswith("paper_") or n == "training"]
    return table[["tau"]].assign(**words).join(table[others])


def _with_error(row: pd.Series, name: str) -> str:
    """ "15.0 → 80.0 ± 0.5", from columns `<name>_before`, `_after`, `_se` or `_sd`."""
    before, after = row[f"{name}_before"], row[f"{name}_after"]
    error = row.get(f"{name}_after_sd", row[f"{name}_se"])
    if np.isnan(after):
        return MISSING
    text = f"{after:.1f}" if np.isnan(before) else f"{before:.1f} → {after:.1f}"
    return text if np.isnan(error) else f"{text} ± {error:.1f}"


def _kind(user: str) -> str:
    kind = user.partition("-")[0]
    return kind if kind in KINDS else KINDS[-1]


def _by_kinds(distances: pd.DataFrame, source: str) -> pd.DataFrame:
    """Mean distances between users by their kinds, a row a pair of kinds."""
    users = zip(distances["first"], distances["second"], strict=True)
    kinds = [" – ".join(sorted(map(_kind, pair), key=KINDS.index)) for pair in users]
    groups = distances.assign(kinds=kinds).groupby("kinds", sort=False)
    sizes = pd.DataFrame({"source": source, "pairs": groups.size()})
    return sizes.join(groups[[*DISTANCES]].mean()).reset_index()


def _maps(distances: pd.DataFrame) -> dict[str, Map]:
    """The distances of all pairs of users, in the users' order."""
    users = pd.unique(distances[["first", "second"]].to_numpy().T.ravel())
    kinds = [_kind(user) for user in users]
    swapped = distances.rename(columns={"first": "second", "second": "first"})
    both = pd.concat([distances, swapped])
    maps = {}
    for column, name in DISTANCES.items():
        square = both.pivot(index="first", columns="second", values=column)
        square = square.reindex(index=users, columns=users)
        square = square.set_axis(kinds).set_axis(kinds, axis=1)
        highest = 1.0 if column == "label_tv" else float(distances[column].max())
        maps[name] = Map(square, 0.0, highest, square=True)
    return maps


RESULTS = """
Percent of all test users' query records classified correctly by the shared model as it
is → after one epoch on the user's own records. After ± stands the standard error over
users of the second number: how much it owes to which users were tested; it says nothing
of other seeds. FO is first-order, HF Hessian-free, exact the meta-gradient itself;
FedAvg + update is FedAvg's model, personalised all the same. The paper's numbers are
for MNIST, to be compared in order only, not in height."""
CURVES = """
A curve that rises earlier needs fewer rounds; one that ends higher is more accurate. τ
is the number of local steps a round."""
NORMS = """
Per-FedAvg goes down this gradient, so that its curves should fall; FedAvg follows
another, and its curve need not."""
MAPS = """
A cell is a pair of users; light is far apart. Users of kind five hold as many records
of each of five classes and should be alike; those of kind one hold mostly one class,
and should differ from them, and from each other unless they hold the same."""
STUDY = Study(
    HOME,
    label_skew.BENCHMARK,
    [
        Experiment(
            HOME,
            label_skew.SKEWED,
            {
                f"{method}_tau{tau}": Variant(
                    algorithm, factors={"method": label, "tau": tau}
                )
                for tau in TAUS
                for method, (label, algorithm, _) in METHODS.items()
            },
        )
    ],
    report=report,
    tables=("results", "distances"),
    figures=("accuracy", "meta_gradient", "distances"),
    notes=[label_skew.NOTE, writers.UNSEEN],
    more=[
        lambda: node(
            bind(measure, benchmark=label_skew.BENCHMARK),
            f"{HOME}.report.pairs_table",
            HOME,
            "report",
            data=label_skew.HOME,
        )
    ],
    further={"distances": f"{HOME}.report.pairs_table"},
)
