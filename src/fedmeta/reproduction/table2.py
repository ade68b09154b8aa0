"""The comparison of a benchmark over seeds and support fractions: the paper's Table 2.

A *cell* is an algorithm at a support fraction. Accuracies are in percent of all test
clients' query records (micro), gains in points.
"""

from collections.abc import Callable, Sequence
from functools import partial
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
from fedmeta.reporting.shown import Shown, TableCell, shown
from fedmeta.reporting.tables import by_label, overhead_table
from fedmeta.reporting.wording import MISSING, label_of, percent
from fedmeta.reproduction import claims as c
from fedmeta.reproduction.claims import Accuracies, Paper
from fedmeta.studies.comparison import LOSSES

NOT_RUN = "missing"
MEASURES = ["after", "after_sd", "before", "before_sd", "macro_after", "macro_after_sd"]
# By title, the measure, how a row's is written, and whether the highest is marked.
ShownColumns = dict[str, tuple[str, Callable[[pd.Series, str], str], bool]]
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
    won = gain_cells(cells)
    at = results.by("support_fraction")
    costs = {p: overhead_table(r, target) for p, r in at.items()} if target else {}
    tables = {"table2": wide(cells, results.source), "gains": wide(won, results.source)}
    signed = partial(_written, sign="+")
    ours: ShownColumns = {"ours": ("after", _with_sd, True)}
    ours |= {"paper": ("paper", _written, True), "diff.": ("difference", signed, False)}
    gained: ShownColumns = {
        "ours": ("gain", signed, False),
        "paper": ("paper", signed, False),
    }
    words = {
        "table2": by_support(cells, ours),
        "before": by_support(cells, {"before": ("before", _with_sd, False)}),
        "gains": by_support(won, gained),
    }
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
        cost = pd.concat(t.assign(support_fraction=p) for p, t in costs.items())
        tables["overhead"], words["overhead"] = cost, shown(cost[OVERHEAD])
        bars = {}
        for p, table in costs.items():
            at_p = f"{percent(p)} support"
            drawn = figures.overhead_bars(table, f"{at_p} · {results.source}")
            bars[f"overhead_p{100 * p:g}"] = drawn, f"{at_p}: shorter is cheaper."
        title = "Figure 3: cost of the target accuracy"
        sections.append(Section(title, COST, words["overhead"], bars))

    def measured(of: Callable[[Results], m.Value]) -> c.Costs:
        cells = {p: by_label(at[p]) if p in at else {} for p in fractions}
        return {p: {k: of(r) for k, r in own.items()} for p, own in cells.items()}

    def spent(*columns: str) -> c.Costs:
        if not target:
            return {p: {} for p in fractions}
        return measured(lambda cell: cost_to(cell, target, *columns))

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
            *c.as_said(flops, traffic, measured(_variance), said, goal),
        ]
    return Report("Table 2", "", tables, sections, checked), words


def accuracies(results: Results) -> Accuracies:
    """Accuracies after adaptation of every cell, by seed, as the paper's table is."""
    found = {}
    for p, at in results.by("support_fraction").items():
        values = {k: m.accuracy(r, stage="after") for k, r in by_label(at).items()}
        found[p] = {k: v for k, v in values.items() if v.diverged or not v.missing}
    return found


def cost_to(cell: Results, target: float, *columns: str) -> m.Value:
    """Columns of the history, summed, when the target was first reached.

    A value a seed; infinite where it never was.
    """
    spent = m.reaching(cell, target, *columns)
    return m.Value(spent.by_seed.fillna(np.inf), cell.diverged)


@m.measure
def _variance(run: Results) -> float:
    """Over clients, of their accuracies after adaptation."""
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
        ``training``, which says so; ``paper`` and ``difference``, if there is a paper.
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
    if paper:
        stated = [paper.get(p, {}).get(label, np.nan) for label, p in cells.index]
        cells["paper"], cells["difference"] = stated, cells["after"] - stated
    return cells


def gain_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """FedMeta's gain over FedAvg, a row a label and support fraction: ours, theirs."""
    labels, fractions = [c.BASELINE, *c.FEDMETA], cells.index.unique(1)
    every = pd.MultiIndex.from_product([labels, fractions], names=cells.index.names)
    means = cells.filter(["after", "paper"]).reindex(every)
    gains = means - means.xs(c.BASELINE)
    return gains.drop(c.BASELINE).rename(columns={"after": "gain"})


def wide(cells: pd.DataFrame, source: str) -> pd.DataFrame:
    """A row an algorithm, columns by support fraction: ``after_20`` and so on."""
    labels, fractions = (cells.index.unique(level) for level in (0, 1))
    names = [name for name in cells if name != "training"]
    table = cells[names].unstack().loc[labels]
    table = table[[(name, p) for p in fractions for name in names]]
    table.columns = [column(name, p) for name, p in table]
    table.insert(0, "source", source)
    return table.reset_index()


def by_support(cells: pd.DataFrame, columns: ShownColumns) -> Shown:
    """A row an algorithm, columns grouped by support fraction, those that there are."""
    labels, fractions = (cells.index.unique(level) for level in (0, 1))
    highest = cells.groupby("support_fraction").max(numeric_only=True)
    there = {title: how for title, how in columns.items() if how[0] in cells}

    def cell(label: str, p: float, name: str, text: Callable, best: bool) -> TableCell:
        row = cells.loc[(label, p)]
        return TableCell(text(row, name), best and row[name] == highest.loc[p, name])

    places = list(product(fractions, there.values()))
    rows = [
        [TableCell(label), *(cell(label, p, *how) for p, how in places)]
        for label in labels
    ]
    groups = [("", 1), *((f"{percent(p)} support", len(there)) for p in fractions)]
    return Shown(["Algorithm", *list(there) * len(fractions)], [("", rows)], groups)


def _with_sd(row: pd.Series, name: str) -> str:
    """ "88.46 ± 0.25 (3)": mean, standard deviation, number of seeds."""
    if pd.isna(row[name]):
        return NOT_RUN if pd.isna(row["training"]) else row["training"]
    deviation = row[f"{name}_sd"]
    spread = "" if pd.isna(deviation) else f" ± {deviation:.2f}"
    return f"{row[name]:.2f}{spread} ({row['n']:g})"


def _written(row: pd.Series, name: str, sign: str = "") -> str:
    value = round(row[name], 2) + 0.0  # never -0.0
    return MISSING if pd.isna(value) else f"{value:{sign}.2f}"


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
