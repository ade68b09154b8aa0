"""Table 3 of Chen et al. (arXiv 1802.07876): which service will a user want next?

Recommenders that learn from a test user's records alone, one trained on all users'
records in one place, and federated meta-learning, on the same test users.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from math import nan
from typing import Any

import pandas as pd

from fedmeta.checkpoints import Checkpoint
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.pipelines.recommendation.methods import METHODS, PAPER, TRAINED
from fedmeta.pipelines.recommendation.pipeline import BENCHMARK, EXPERIMENT, HOME
from fedmeta.reporting import measures as m
from fedmeta.reporting import recommendation as r
from fedmeta.reporting.curves import Axis, by_round, curves
from fedmeta.reporting.recommendation import TOPS, Row, column
from fedmeta.reporting.report import TABLES, Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import Shown, show, shown
from fedmeta.reporting.verdicts import Claim
from fedmeta.studies.study import Study

VALIDATION = {"top1": m.AFTER, "top4": "validation_top4_after"}
KINDS = {
    "alone": "Alone: nothing but the user's own records",
    "mixed": "Unified: one model of all users' records in one place",
    "meta": "Federated: meta-learned, records stay with their users",
}
ADVANTAGES = {
    "mru": "repeats the last service: here users go on with it that often",
    "mixed": "was trained on all training users' records in one place",
    "meta": "differs from it in nothing but algorithm and model",
}
FROM = " of a user's records to learn from"
MEASURED = re.compile(r"(paper_)?.+_([\d.]+)")  # at a support fraction, in percent
MOST, FEW = 0.8, 0.05  # the paper's two support fractions
MRU: Row = ("mru", 0)
LR, NN, NN_LONG = ("lr", 100), ("nn", 100), ("nn", 10_000)
MAML_LR, META_SGD_LR = ("maml_lr", 100), ("meta_sgd_lr", 100)
MAML_NN, META_SGD_NN = ("maml_nn", 100), ("meta_sgd_nn", 100)
STRONG = [META_SGD_NN, MAML_NN, META_SGD_LR]
BEAT = "Meta-SGD + NN, MAML + NN and Meta-SGD + LR beat LR and NN at 100 steps"
WORST = "MAML + LR is the worst federated method, below LR at 100 steps"
ALIKE = "MAML + NN and Meta-SGD + NN are about equal on Top-1 (within 1 point)"
FEW_BEAT = "MAML + NN and Meta-SGD + NN beat MRU, and NN at 10,000 steps, on Top-1"


def report(
    results: Results,
    options: dict[str, Any],
    records: FederatedDataset,
    codebook: Codebook,
    unified: Checkpoint,
    statistics: pd.DataFrame,
) -> Report:
    """The report of a run; Table 3 is printed too."""
    shapes, models = BENCHMARK.encoding(codebook).sizes, options["models"]
    networks = {n: BENCHMARK.model(**shapes, **models[n]).init(0) for n in TRAINED}
    networks["unified"] = unified.state.meta["theta"]
    counts = {n: sum(p.numel() for p in net.values()) for n, net in networks.items()}
    found = report_on(results, parameters(counts))
    table = found.tables["table3"].drop(columns="parameters")  # no room for it
    show(grouped(table), f"Test accuracy in percent, by support · {results.source}")
    return found._replace(
        notes=[
            codebook.note,
            *json.loads(records.metadata["notes"]),
            SLOTS.format(records.metadata["slots"]),
            WATCHED.format(100 * options["partition"].support_fraction),
        ],
        statistics=shown(statistics, plain=True),
    )


def parameters(counts: Mapping[str, int]) -> dict[str, int]:
    """Number of parameters of each method that has any, from those of its model."""
    return {
        name: method.copies * counts[method.model]
        for name, method in METHODS.items()
        if method.model
    }


def report_on(results: Results, sizes: Mapping[str, int]) -> Report:
    """Table 3, what single users get, Figures 6 and 7, and the paper's claims.

    Args:
        results: of one run, or of several seeds.
        sizes: number of parameters of each method that has any.
    """
    results = r.for_every_seed(results)
    own = results.source == BENCHMARK.label
    table = r.tabulate(results, sizes, r.accuracies)
    users = r.tabulate(results, sizes, r.of_users)
    for p in r.support_fractions(results) if own else ():
        stated = [
            (PAPER.get((row.id, 0)) or PAPER.get((row.id, row.steps), {})).get(p)
            for row in table.itertuples()
        ]
        for place, top in enumerate(TOPS):
            table[f"paper_{column(top, p)}"] = [x[place] if x else nan for x in stated]
    federated = results.where(kind="meta").by("label")
    validation = {
        TOPS[top]: by_round({"": federated}, name)[""]
        for top, name in VALIDATION.items()
    }
    learning = curves(
        validation,
        f"Validation accuracy by episode · {results.source}",
        Axis("", "{:.1%}"),
        "episode",
        "no episode has been evaluated",
    )
    return Report(
        "Recommending the next service, with and without federated meta-learning",
        outcome(results, table),
        {"table3": table, "users": users},
        [
            Section(
                "Which method recommends best?",
                TABLE,
                grouped(table),
                note=f"{NUMBERS}{BESIDE * own}{ORDER}",
            ),
            Section(
                "How fast do the methods learn?",
                figures={
                    "episodes": (learning, EPISODES),
                    "steps": (r.step_curves(results), STEPS),
                },
            ),
            Section(
                "Is it good for every user?",
                table=grouped(users.drop(columns="parameters")),
                figures={"users": (r.user_spread(results), USERS)},
                note=EACH,
            ),
        ],
        claims(results),
        [NEXT, TABLES],
    )


def claims(results: Results) -> list[Claim]:
    """What the paper's Table 3 says of the methods' order, checked over seeds."""
    above, equal = partial(r.above, results), partial(r.equal, results)
    alike, mru = "MAML + NN {}, Meta-SGD + NN {}", "{} with 80 %, {} with 5 %"
    both = [MAML_NN, META_SGD_NN]
    found = {
        "80 % support: Meta-SGD + NN is best": above([META_SGD_NN], [], MOST),
        f"80 % support: {BEAT}": above(STRONG, [LR, NN], MOST),
        f"5 % support: {BEAT}": above(STRONG, [LR, NN], FEW),
        f"80 % support: {WORST}": above([*STRONG, LR], [MAML_LR], MOST),
        f"5 % support: {ALIKE}": equal(
            alike, (MAML_NN, FEW), (META_SGD_NN, FEW), 1, ["top1"]
        ),
        f"5 % support: {FEW_BEAT}": above(both, [NN_LONG, MRU], FEW, ["top1"]),
        "5 % support: MRU is best on Top-4": above([MRU], [], FEW, ["top4"]),
        "MRU does not depend on the support": equal(mru, (MRU, MOST), (MRU, FEW), 0),
    }
    return [Claim(claim, *outcome) for claim, outcome in found.items()]


def outcome(results: Results, table: pd.DataFrame) -> str:
    """Which method is best; where that is not Meta-SGD + NN, what is known of why."""
    names = r.rows_of(results)
    best: list[str] = []
    behind: list[str] = []
    for p in r.support_fractions(results):
        tops = [table.loc[table[column(top, p)].idxmax()] for top in TOPS]
        first, second = (names[row["id"], row["steps"]] for row in tops)
        one, four = (table[column(top, p)].max() for top in TOPS)
        share = f"With {100 * p:g} %" + FROM * (not best)
        best.append(
            f"{share}, {first} is best: its first suggestion is right in {one:.1f} % "
            f"of cases, one of its first four in {four:.1f} %."
            if first == second
            else f"{share}, {first} is best with one suggestion ({one:.1f} % right) "
            f"and {second} with four ({four:.1f} %)."
        )
        own = float(r.value(results, META_SGD_NN, "top1", p))
        if own < one:
            behind.append(
                f"With {100 * p:g} %, Meta-SGD + NN is {one - own:.1f} points behind "
                f"{first}, which {_advantage(tops[0])}."
            )
    training = _training(results) if behind else ""
    return " ".join([*best, *behind, training]).strip() or (
        "No test user has been evaluated."
    )


def grouped(table: pd.DataFrame) -> Shown:
    """A table whose columns are grouped by support and its rows by kind."""
    columns = table.drop(columns=["id", "kind"])
    return shown(
        columns,
        best=[name for name in columns if MEASURED.fullmatch(name)],
        group=_support,
        kinds=table["kind"].map(KINDS),
    )


def _support(name: str) -> str:
    """What stands over a column."""
    if (found := MEASURED.fullmatch(name)) is None:
        return ""
    return f"Paper, {found[2]} %" if found[1] else f"{found[2]} % support"


def _advantage(best: pd.Series) -> str:
    """What a method has that Meta-SGD + NN lacks."""
    known = ADVANTAGES.get(best["id"]) or ADVANTAGES.get(best["kind"])
    if known or best["steps"] <= META_SGD_NN[1]:
        return known or "learns from a user's own records alone"
    return f"takes {best['steps']:,} steps on a user's own records instead of 100"


def _training(results: Results) -> str:
    """Whether Meta-SGD + NN was still learning when its training ended."""
    found = results.where(method=META_SGD_NN[0])
    watched = m.over_seeds(found, m.AFTER)["mean"].dropna()
    if watched.empty:
        return ""
    best, last = watched.idxmax(), watched.index[-1]
    start = "Meta-SGD + NN's validation accuracy was highest"
    if best == last:
        return f"{start} in the last episode evaluated ({last:,}), so more may help."
    at_best, at_last = (100 * watched[n] for n in (best, last))
    return (
        f"{start} after episode {best:,} ({at_best:.1f} %) and {at_last:.1f} % at the "
        "end, so more episodes would hardly help."
    )


TABLE = """
Every method predicts which service a user opens next. Top-1 is how often its first
suggestion is right, Top-4 how often one of its first four, in percent of all test
users' query records. A test user has taken no part in training. A user's last 20 % of
records are the query; the first 80 %, or the first 5 %, are the support, which a method
may learn from. Steps are gradient steps on the support."""
NUMBERS = """
Bold is the best of its column; – is not measured, or does not apply. Parameters are
those of algorithm and model together, as the paper counts them."""
BESIDE = """
 The paper's numbers are for its own log, which is not published: compare the order of
the methods, not the heights."""
ORDER = """
A claim that names neither Top-1 nor Top-4 must hold on both. After "against" stands the
strongest of those to be beaten. One seed decides nothing: kedro reproduce takes all."""
EPISODES = """
A curve that rises earlier needs fewer episodes; one that ends higher is more accurate.
One that falls as training goes on is getting worse at being adapted, as MAML + LR does
in the paper. The users are validation users, after adapting to their support; the
numbers are those measured, not smoothed."""
STEPS = """
The curves are LR and NN, trained from scratch on each user's support. A dot is a model
that starts from what other users have taught it, at the number of steps that it takes.
Where a curve passes below a dot, that start is worth more than the same steps from
scratch; where the curve crosses the dot's dashed line it has caught up, and the further
right, the more the start was worth. Dotted lines are methods that take no steps."""
USERS = """
A row is a method: the hump is the density of its users, the bar their middle 80 %, the
dot their median. Further right is better; a shorter bar treats users more alike. A
hump's tail can pass 0 or 100 % and is cut there, since it is a smoothed histogram."""
EACH = """
Every user counts the same. Mean is over users; 1 user in 10 has a Top-1 below the 10th
percentile. Beats MRU is the share of users for whom Top-1 is higher than that of
suggesting the service used last."""
NEXT = """
kedro recommend my_log.csv adapts what was learned to one user's own log, and prints
what that user will want next."""
SLOTS = (
    "A model tells {} services of a user apart: those used most in the support records,"
    " then others in the order of their first use. Records of further services count as"
    " missed. A service that is used for the first time has the next free number: the"
    " services on a phone are assumed to be known beforehand."
)
WATCHED = (
    "Validation users, whom the curves by episode show, learn from the first {:g} % of"
    " their records; in the paper's Figure 6 it is 80 %."
)
STUDY = Study(
    HOME,
    BENCHMARK,
    [EXPERIMENT],
    report=report,
    tables=("table3", "users"),
    figures=("episodes", "steps", "users"),
    notes=(),
    further={
        "options": f"params:{HOME}",
        "records": f"{HOME}.records",
        "codebook": f"{HOME}.codebook",
        "unified": f"{HOME}.unified.checkpoint",
        "statistics": f"{HOME}.statistics",
    },
)
