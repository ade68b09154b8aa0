"""The comparison of a benchmark over seeds and support fractions: the paper's Table 2.

A *cell* is an algorithm at a support fraction. Accuracies are in percent of all test
clients' query records (micro), gains in points.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pandas as pd

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.reporting import figures
from fedmeta.reporting import measures as m
from fedmeta.reporting.fairness import client_accuracies, spread
from fedmeta.reporting.recommendation import column
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import Cell, Shown, shown
from fedmeta.reporting.tables import overhead_table
from fedmeta.reporting.wording import MISSING, label_of, percent
from fedmeta.reproduction import claims as c
from fedmeta.reproduction.claims import Accuracies, Paper
from fedmeta.studies.comparison import LOSSES

NOT_RUN = "missing"
MEASURES = ["after", "after_sd", "before", "before_sd", "macro_after", "macro_after_sd"]
# By title, the measure whose highest is marked, or "", and the text of a row's cell.
Texts = dict[str, tuple[str, Callable[[pd.Series], str]]]
OVERHEAD = ["support_fraction", "algorithm", "outcome", "best_accuracy", "rounds"]
OVERHEAD += ["bytes_total", "flops", "communication_reduction"]


def table2_report(
    results: Results,
    benchmark: Benchmark,
    algorithms: Sequence[str],
    fractions: Sequence[float],
    target: float | None,
    *,
    stands_in: bool,
) -> tuple[Report, dict[str, Shown]]:
    """Table 2 and Figures 2 to 5, and the tables in words by name.

    Args:
        results: a cell an algorithm, support fraction and seed.
        benchmark: that they are of, or stand in for.
        algorithms: the rows, in order.
        fractions: the columns; a cell that was not measured is named as missing.
        target: validation accuracy that costs are counted to, a fraction; or None.
        stands_in: whether the data are not the benchmark's own: then the paper's
            numbers are not set beside.
    """
    paper = {} if stands_in else benchmark.table2
    found = accuracies(results)
    cells = accuracy_cells(results, algorithms, fractions, paper)
    won = gain_cells(found, fractions, paper)
    at = results.by("support_fraction")
    costs = {p: overhead_table(r, target) for p, r in at.items()} if target else {}
    names = [*MEASURES, "n", "diverged", *(["paper", "difference"] if paper else [])]
    tables = {
        "table2": wide(cells, names, results.source),
        "gains": wide(won, ["gain", "paper"] if paper else ["gain"], results.source),
    }
    theirs: Texts = {"paper": ("paper", _written("paper"))} if paper else {}
    apart: Texts = {"diff.": ("", _written("difference", "+"))} if paper else {}
    stated: Texts = {"paper": ("", _written("paper", "+"))} if paper else {}
    words = {
        "table2": by_support(cells, {"ours": ("after", _with_sd), **theirs, **apart}),
        "before": by_support(cells, {"before": ("", lambda r: _with_sd(r, "before"))}),
        "gains": by_support(won, {"ours": ("", _written("gain", "+")), **stated}),
    }
    if costs:
        cost = pd.concat(t.assign(support_fraction=p) for p, t in costs.items())
        tables["overhead"], words["overhead"] = cost, shown(cost[OVERHEAD])
    beside = (
        " Beside it the paper's Table 2, and ours less the paper's." if paper else ""
    )
    sections = [
        Section("Table 2: accuracy after adaptation", TABLE2 + beside, words["table2"]),
        Section("Before adaptation", BEFORE, words["before"]),
        Section(
            "FedMeta's gain over FedAvg",
            "Difference of the means after adaptation, in points.",
            words["gains"],
        ),
        Section(
            "Figures 2, 4 and 5: how fast each algorithm learns",
            "The paper's Figure 2 is at 20 % support, Figure 4 at 50 %, Figure 5 at "
            "90 %.",
            figures={
                "accuracy": (figures.accuracy_curves(results, target), CURVES),
                "loss": (figures.loss_curves(results), LOSSES),
            },
        ),
        Section(
            "Is it fair to every client?",
            figures={"density": (figures.client_density(results), DENSITY)},
        ),
    ]
    if costs:
        bars = {}
        for p, table in costs.items():
            at_p = f"{percent(p)} support"
            drawn = figures.overhead_bars(table, f"{at_p} · {results.source}")
            bars[f"overhead_p{100 * p:g}"] = drawn, f"{at_p}: shorter is cheaper."
        title = "Figure 3: cost of the target accuracy"
        sections.append(Section(title, COST, words["overhead"], bars))

    def spent(*columns: str) -> c.Costs:
        return {
            p: cost_to(at[p], target, *columns) if target and p in at else {}
            for p in fractions
        }

    goal, flops = c.goal(target), spent("flops")
    checked = [
        c.above_baseline(found, fractions),
        c.fine_tuning(found, benchmark.table2, fractions),
        c.shrinking_lead(found),
        c.fewer_rounds(spent("round"), flops, goal),
        c.rising(found),
    ]
    if said := benchmark.said:
        traffic = spent("bytes_down", "bytes_up")
        checked += [
            c.less_traffic(traffic, goal),
            c.fewest_operations(flops, said, goal),
            c.fewer_operations(flops, goal),
            c.traffic_of_first_order(traffic, said, goal),
            *c.spread(
                {p: variances(at[p]) if p in at else {} for p in fractions}, said
            ),
        ]
    return Report("Table 2", "", tables, sections, checked), words


def accuracies(results: Results) -> Accuracies:
    """Accuracies after adaptation of every cell, by seed, as the paper's table is."""
    return {
        p: {
            label_of(name): value
            for name, cell in at.by("algorithm").items()
            if (value := m.accuracy(cell, stage="after")).diverged or not value.missing
        }
        for p, at in results.by("support_fraction").items()
    }


def cost_to(results: Results, target: float, *columns: str) -> dict[str, m.Value]:
    """Columns of the history, summed, when the target was first reached, by label.

    A value a seed; infinite where it never was.
    """
    found = {}
    for name, cell in results.by("algorithm").items():
        spent = m.reaching(cell, target, *columns)
        found[label_of(name)] = m.Value(spent.by_seed.fillna(np.inf), cell.diverged)
    return found


def variances(results: Results) -> dict[str, m.Value]:
    """Variance over clients of accuracies after adaptation, by label."""
    return {
        label_of(name): _variance(cell)
        for name, cell in results.by("algorithm").items()
    }


@m.measure
def _variance(run: Results) -> float:
    return spread(client_accuracies(run)["after"].to_numpy())["variance"]


def accuracy_cells(
    results: Results,
    algorithms: Sequence[str],
    fractions: Sequence[float],
    paper: Paper,
) -> pd.DataFrame:
    """Accuracy over seeds beside the paper's, a row a label and support fraction.

    Returns:
        `MEASURES`: means and sample standard deviations, missing for one seed or where
        the training of a seed diverged; ``n`` seeds, of which ``diverged``, and
        ``training``, which says so; ``paper`` and ``difference``.
    """

    def measured(found: Results) -> dict:
        return {
            "after": m.accuracy(found, stage="after"),
            "before": m.accuracy(found, stage="before"),
            "macro_after": m.mean(found, "accuracy", "after", macro=True) * 100,
            "n": found.seeds,
            "diverged": (found.cells["diverged"] != "").sum(),
        }

    keys = ["algorithm", "support_fraction"]
    every = pd.MultiIndex.from_product([algorithms, fractions], names=keys)
    cells = m.tabulate(results, keys, measured).set_index(keys).reindex(every)
    cells = cells.reindex(columns=[*MEASURES, "n", "diverged", "training"])
    cells = cells.rename(label_of, level="algorithm")
    cells[["n", "diverged"]] = cells[["n", "diverged"]].fillna(0).astype(int)
    cells["paper"] = [paper.get(p, {}).get(label, np.nan) for label, p in cells.index]
    return cells.assign(difference=cells["after"] - cells["paper"])


def gain_cells(
    found: Accuracies, fractions: Sequence[float], paper: Paper
) -> pd.DataFrame:
    """FedMeta's gain over FedAvg, a row a label and support fraction: ours, theirs."""
    keys = pd.MultiIndex.from_product(
        [c.FEDMETA, fractions], names=["algorithm", "support_fraction"]
    )
    both = {"gain": c.gains(found), "paper": c.gains(c.published(paper))}
    return pd.DataFrame(
        {
            k: [float(g[key]) if key in g else np.nan for key in keys]
            for k, g in both.items()
        },
        index=keys,
    )


def wide(cells: pd.DataFrame, names: Sequence[str], source: str) -> pd.DataFrame:
    """A row an algorithm, columns by support fraction: ``after_20`` and so on."""
    labels, fractions = (cells.index.unique(level) for level in (0, 1))
    table = cells[list(names)].unstack().loc[labels]
    table = table[[(name, p) for p in fractions for name in names]]
    table.columns = [column(name, p) for name, p in table]
    table.insert(0, "source", source)
    return table.reset_index()


def by_support(cells: pd.DataFrame, columns: Texts) -> Shown:
    """A row an algorithm, columns grouped by support fraction."""
    labels, fractions = (cells.index.unique(level) for level in (0, 1))
    highest = cells.groupby("support_fraction").max(numeric_only=True)

    def cell(label: str, p: float, best: str, text: Callable) -> Cell:
        row = cells.loc[(label, p)]
        return Cell(text(row), bool(best) and row[best] == highest.loc[p, best])

    places = list(product(fractions, columns.values()))
    rows = [
        [Cell(label), *(cell(label, p, *how) for p, how in places)] for label in labels
    ]
    groups = [("", 1), *((f"{percent(p)} support", len(columns)) for p in fractions)]
    return Shown(["Algorithm", *list(columns) * len(fractions)], [("", rows)], groups)


def _with_sd(row: pd.Series, name: str = "after") -> str:
    """ "88.46 ± 0.25 (3)": mean, standard deviation, number of seeds."""
    if pd.isna(row[name]):
        return NOT_RUN if pd.isna(row["training"]) else row["training"]
    deviation = row[f"{name}_sd"]
    spread = "" if pd.isna(deviation) else f" ± {deviation:.2f}"
    return f"{row[name]:.2f}{spread} ({row['n']:g})"


def _written(name: str, sign: str = "") -> Callable[[pd.Series], str]:
    def text(row: pd.Series) -> str:
        value = round(row[name], 2) + 0.0  # never -0.0
        return MISSING if pd.isna(value) else f"{value:{sign}.2f}"

    return text


TABLE2 = """
Percent of all test clients' query records: mean over seeds ± sample standard deviation
(number of seeds), after the last round; the best of a column is bold."""
BEFORE = """
The shared model as it is. FedMeta trains it for being adapted, and before that it can
be poor."""
CURVES = """
A curve that rises earlier needs fewer rounds; what these compute is below, under the
cost of the target accuracy. Lines are means over seeds, bands one standard deviation
to either side; the gap between solid and dashed is what adapting is worth. Not
smoothed."""
DENSITY = """
Each hump is the spread of the test clients' accuracies, those of all seeds together.
Further right is better, narrower is fairer; triangles mark means."""
COST = """
All that was spent, by all clients, until the mean over seeds of the validation accuracy
first reached the target."""
