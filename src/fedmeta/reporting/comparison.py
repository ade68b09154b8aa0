"""The report of a comparison of algorithms on one benchmark: tables into words."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.shown import Shown, shown, sideways
from fedmeta.reporting.tables import BASELINE
from fedmeta.reporting.wording import (
    further_metrics,
    headline_columns,
    with_intervals,
)

# What the terminal shows: a table of it fits 80 characters.
PRINTED = ["algorithm", "micro_before", "micro_after", "micro_after_interval", "paper"]
PRINTED += ["rounds", "bytes_total", "flops"]
SHORT = {
    "micro_before": "before",
    "micro_after": "after",
    "micro_after_interval": "interval",
}


def report(
    accuracy: pd.DataFrame,
    fairness: pd.DataFrame,
    overhead: pd.DataFrame,
    figures: Mapping[str, Figure],
    benchmark: str,
    stands_in: bool,
) -> Report:
    """The page below its head.

    Args:
        accuracy: The result of ``accuracy_table``.
        fairness: The result of ``fairness_table``.
        overhead: The result of ``overhead_table``.
        figures: By the names "accuracy", "loss", "density", "adaptation", "overhead",
            "targets".
        benchmark: The real data set's name.
        stands_in: Whether the data are not the benchmark's own.
    """
    told = with_intervals(accuracy)
    headline = headline_columns(told)
    other = f" The paper's numbers are for {benchmark}, not for these data."
    return Report(
        "Federated meta-learning, compared with FedAvg",
        summary(accuracy),
        {"accuracy": accuracy, "fairness": fairness, "overhead": overhead},
        figures,
        [
            Section(
                "Which algorithm is most accurate?",
                ACCURACY,
                shown(told[headline]),
                note=HEADLINE + other * (stands_in and "paper" in headline),
            ),
            Section(
                "How fast does each algorithm learn?",
                figures=[("accuracy", CURVES), ("loss", LOSSES)],
            ),
            Section(
                "Is it fair to every client?",
                figures=[("density", DENSITY), ("adaptation", ADAPTATION)],
            ),
            Section(
                "Fairness in numbers",
                "All measures are of the test clients' accuracies after adaptation, "
                "every client counting the same.",
                sideways(fairness, "algorithm"),
                level=3,
            ),
            Section(
                "What does it cost to become accurate?",
                table=sideways(overhead, "algorithm"),
                figures=[("overhead", OVERHEAD), ("targets", TARGETS)],
            ),
            Section("All accuracies and costs", table=sideways(told, "algorithm")),
        ],
    )


def summary(accuracy: pd.DataFrame, baseline: str = BASELINE) -> str:
    """The outcome in one or two sentences."""
    measured = accuracy.dropna(subset=["micro_after"])
    diverged = "".join(
        f" {row.algorithm} {row.training}."
        for row in accuracy.itertuples()
        if isinstance(getattr(row, "training", None), str)
    )
    if measured.empty:
        return f"No test client has been evaluated.{diverged}"
    best = measured.loc[measured["micro_after"].idxmax()]
    text = (
        f"After adapting to each test client, {best['algorithm']} classifies "
        f"{best['micro_after']:.1f} % of the query records correctly"
    )
    if best["algorithm"] == baseline or pd.isna(best["gain"]):
        return f"{text}.{diverged}"
    return (
        f"{text}, {best['gain']:.1f} points more than {baseline}, "
        f"whose model all clients share as it is.{diverged}"
    )


def printed(accuracy: pd.DataFrame) -> Shown:
    """The few numbers of ``accuracy_table`` that a terminal has room for."""
    traffic = accuracy["bytes_down"] + accuracy["bytes_up"]
    table = with_intervals(accuracy.assign(bytes_total=traffic))
    place = PRINTED.index("paper")
    names = [*PRINTED[:place], *further_metrics(accuracy), *PRINTED[place:]]
    table = table[[name for name in names if not table[name].isna().all()]]
    found = shown(table, SHORT, best=["micro_after"])
    words = accuracy.get("training", pd.Series(index=accuracy.index, dtype=object))
    rows = [
        [cell._replace(best=any(c.best for c in row)) for cell in row]
        for row in found.bodies[0][1]
    ]
    for row, told in zip(rows, words, strict=True):
        if isinstance(told, str):
            row[0] = row[0]._replace(text=f"{row[0].text}\n{told}")
    return found._replace(bodies=[("", rows)])


ACCURACY = """
All algorithms train one shared model on the same clients. A test client has taken no
part in that. It has a few labelled support records, which the shared model may adapt
to, and query records, on which it is judged. Before is the shared model as it is; after
is once it has adapted. FedAvg never adapts, so that its two numbers are the same;
FedAvg(Meta) is the same shared model, fine-tuned on the support records. The FedMeta
algorithms train the model for being adapted, and before that it can be poor."""
HEADLINE = """
Accuracy is the share of all test clients' query records that are classified correctly.
Traffic and compute are those of training, summed over all clients. The 95 % interval
says how far the accuracy would vary had other test clients been drawn (bootstrap); it
knows nothing of other seeds."""
CURVES = """
A curve that rises earlier needs fewer rounds of communication; one that ends higher is
more accurate. The gap between an algorithm's solid and dashed line is what adapting to
a client is worth. The numbers are those measured, not smoothed."""
LOSSES = """
Lower is better. A validation loss that turns up again while the training loss falls is
overfitting. Training losses are each algorithm's own: FedAvg's is on all records,
FedMeta's on query records after adaptation, so compare their shapes, not their
heights."""
DENSITY = """
Each hump is the spread of the test clients' accuracies. Further right is better, and
narrower is fairer: few clients are left behind. A hump's tail can pass 100 % and is cut
there, since the curve is a smoothed histogram."""
ADAPTATION = """
A dot is a client. Above the diagonal, adapting helped; in the shaded half it did harm.
FedAvg, which does not adapt, is left out."""
TARGETS = """
The same for every target: a lower line is cheaper, and a line that ends earlier never
gets further. Bands are 95 % intervals over validation clients (bootstrap); one that
goes up to the top is open: some draws of clients never get there. Where more than half
do not, nothing is drawn."""
OVERHEAD = """
Shorter is cheaper: all that was spent until the validation accuracy after adaptation
first reached the target. An algorithm that converges in fewer rounds can still cost
more if each round is dearer. Compute is a formula's; beside it, by how much a counter
of the operations really run differs (at most 2 % is required)."""
