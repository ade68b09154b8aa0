"""The recommendation study's report: Table 3 in words."""

import re
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from fedmeta.reporting.recommendation_claims import orderings, verdict
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.shown import Shown, shown

KINDS = {
    "alone": "Alone: nothing but the user's own records",
    "mixed": "Unified: one model of all users' records in one place",
    "meta": "Federated: meta-learned, records stay with their users",
}
HIDDEN = ["id", "kind"]
MEASURED = re.compile(r"(paper_)?.+_([\d.]+)")  # at a support fraction, in percent


def report(
    table: pd.DataFrame,
    users: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Figure],
) -> Report:
    """The page below its head.

    Args:
        table: The result of ``table3``.
        users: The result of ``users_table``.
        histories: Of the federated methods, by label; a row an evaluated episode.
        figures: By the names "episodes", "steps", "users".
    """
    paper = any(name.startswith("paper_") for name in table)
    return Report(
        "Recommending the next service, with and without federated meta-learning",
        verdict(table, histories),
        {"table3": table, "users": users},
        figures,
        [
            Section(
                "Which method recommends best?",
                TABLE,
                grouped(table),
                note=PARAMETERS + PAPER * paper,
            ),
            Section(
                "Is the order of the methods the paper's?",
                claims=orderings({0: table}),
                note=ORDER,
            ),
            Section(
                "How fast do the methods learn?",
                figures=[("episodes", EPISODES), ("steps", STEPS)],
            ),
            Section(
                "Is it good for every user?",
                table=grouped(users.drop(columns="parameters")),
                figures=[("users", USERS)],
                note=EACH,
            ),
        ],
        next=[NEXT],
    )


def grouped(table: pd.DataFrame) -> Shown:
    """A table whose columns are grouped by support and its rows by kind."""
    columns = table.drop(columns=HIDDEN)
    return shown(
        columns,
        best=[name for name in columns if MEASURED.fullmatch(name)],
        group=_support,
        kinds=table["kind"].map(KINDS),
    )


def _support(name: str) -> str:
    found = MEASURED.fullmatch(name)
    if found is None:
        return ""
    return f"Paper, {found[2]} %" if found[1] else f"{found[2]} % support"


TABLE = """
Every method predicts which service a user opens next. Top-1 is how often its first
suggestion is right, Top-4 how often one of its first four, in percent of all test
users' query records. A test user has taken no part in training. A user's last 20 % of
records are the query; the first 80 %, or the first 5 %, are the support, which a method
may learn from. Steps are gradient steps on the support."""
PARAMETERS = """
Bold is the best of its column; – is not measured, or does not apply. Parameters are
those of algorithm and model together, as the paper counts them."""
PAPER = """
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
