"""Copy the small tables of finished runs into docs/results, for the results page.

    python tools/publish_results.py femnist data/08_reporting/paper/femnist/p0.2_seed0
    python tools/publish_results.py sample data/08_reporting/base/femnist/p0.2_seed*
    python tools/publish_results.py femnist_tuned --beside femnist \\
        data/08_reporting/tuned/femnist/p0.2_seed*

The first writes femnist_{accuracy,overhead,targets,fairness,statistics,history}.csv,
or, of a recommendation study, recommendation_{table3,users,statistics}.csv; several
runs, as in the second, give the accuracies of all and their mean and standard
deviation, sample_seeds.csv; the third writes femnist_tuned_headline.csv too: of all
seeds, with the accuracies of femnist_accuracy.csv beside them, and the hits of each
test client, without names. The report of a related paper's study:

    python tools/publish_results.py perfedavg \\
        data/08_reporting/paper/femnist_per_fedavg_study/p0.2_seed0

gives its claims and tables as CSV and its figures as SVG; an experiment's folder of
`kedro reproduce`, data/08_reporting/reproduction/femnist, likewise. Numbers are rounded
for reading; who clients are stays behind.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.data.cells import read_table, write_table
from fedmeta.datasets import AtomicParquetDataset
from fedmeta.pipeline_registry import COMPARED
from fedmeta.reporting.bootstrap import interval
from fedmeta.reporting.results import restored
from fedmeta.reporting.shown import markdown
from fedmeta.reporting.wording import with_intervals
from fedmeta.reproduction.report import slug
from fedmeta.studies import STUDIES, Study
from fedmeta.studies.study import table_of

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
ACCURACY = {
    "algorithm": "algorithm",
    "micro_before": "before, %",
    "micro_after": "after, %",
    "micro_after_interval": "95 % interval",
    "macro_after": "after, mean over clients, %",
    "paper": "paper, %",
    "difference": "difference",
    "rounds": "rounds",
    "best_validation_accuracy": "best validation, %",
    "best_validation_round": "at round",
}
OVERHEAD = {
    "algorithm": "algorithm",
    "outcome": "target",
    "rounds": "rounds",
    "bytes_total": "traffic, GB",
    "flops": "TFLOP, analytic",
    "flops_counted": "TFLOP, counted",
    "flops_difference": "difference, %",
    "communication_reduction": "traffic of FedAvg / this",
}
TARGETS = (70, 74, 78, 80, 82, 84, 86, 88, 90)  # %, of validation accuracy
UNITS = {"bytes_total": 1e9, "flops": 1e12, "flops_counted": 1e12}
WHOLE = ["rounds", "best_validation_round"]
FAIRNESS = {
    "algorithm": "algorithm",
    "mean": "mean, %",
    "sd": "standard deviation",
    "worst_tenth": "worst tenth, mean, %",
    "p50": "median, %",
    "best_tenth": "best tenth, mean, %",
    "jain": "Jain's index",
    "gini": "Gini coefficient",
    "share_better": "clients made better, %",
    "share_worse": "clients made worse, %",
}

STUDY = {
    "method": "method",
    "steps": "steps",
    "parameters": "parameters",
    "top1": "Top-1, {} %",
    "top4": "Top-4, {} %",
    "mean_top1": "Top-1, mean over users, {} %",
    "beats_mru": "users for whom it beats MRU, {} %",
}

MOST_WITH_DEVIATIONS = 10  # columns

Scores = dict[str, list[pd.DataFrame]]  # algorithm -> a table a run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prefix", help="of the files in docs/results")
    parser.add_argument("--beside", help="prefix of a run that is published already")
    parser.add_argument("reports", type=Path, nargs="+", help="folders of reports")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    reports = [report.resolve() for report in args.reports]
    if len(reports) > 1:
        found = {"seeds": seeds(reports)}
    elif (reports[0] / "table3.csv").is_file():
        found = study(reports[0])
    elif (reports[0].parent / "claims.csv").is_file():
        found = reproduction(reports[0], args.prefix)
    elif reports[0].parent.name in STUDIES:
        found = related(STUDIES[reports[0].parent.name], reports[0], args.prefix)
    else:
        found = tables(reports[0])
    if args.beside:
        each = scores(reports)
        found["headline"] = headline(each, reports[0], args.beside)
        found["clients"] = clients(each, reports)
    for name, table in found.items():
        path = RESULTS / f"{args.prefix}_{name}.csv"
        # curves are drawn from the history: there, nothing stands for nothing
        write_table(table, path, na_rep="" if name == "history" else "–")
        print(path)


def seeds(reports: list[Path]) -> pd.DataFrame:
    """Accuracy after adaptation, in percent: a column a run, mean and deviation."""
    runs = {
        report.name.rpartition("_")[2]: read_table(
            report / "accuracy.csv", index_col="algorithm"
        )["micro_after"]
        for report in reports
    }
    table = pd.DataFrame(runs)
    # No mean is taken over what is left where a seed's training diverged.
    mean, deviation = (f(axis=1, skipna=False) for f in (table.mean, table.std))
    summary = table.assign(mean=mean, deviation=deviation)
    return summary.round(1).reset_index()


def tables(report: Path) -> dict[str, pd.DataFrame]:
    """What is published of a run, by name."""
    whole = dict.fromkeys(WHOLE, "Int64")
    accuracy = read_table(report / "accuracy.csv", dtype=whole)
    overhead = read_table(report / "overhead.csv", dtype=whole)
    fairness = read_table(report / "fairness.csv")
    for column, unit in UNITS.items():
        overhead[column] /= unit
    return {
        "accuracy": titled(with_intervals(accuracy), ACCURACY),
        "overhead": titled(overhead, OVERHEAD),
        "fairness": titled(fairness, FAIRNESS),
        "targets": targets(read_table(report / "targets.csv")),
        "statistics": statistics_of(report),
        "history": histories(report, accuracy["source"].iloc[0]),
    }


def titled(table: pd.DataFrame, titles: dict[str, str]) -> pd.DataFrame:
    """Some columns under other names, rounded for reading."""
    return table[list(titles)].rename(columns=titles).round(2)


def statistics_of(report: Path) -> pd.DataFrame:
    """Table 1, which does not depend on the run: it lies beside the runs' folders."""
    statistics = read_table(report.parent / "statistics.csv")
    return statistics.drop(columns="quantity").round(2)


def targets(table: pd.DataFrame) -> pd.DataFrame:
    """Rounds until some targets, with their 95 % intervals, and what these cost."""

    def cell(row: pd.Series) -> str:
        if pd.isna(row["rounds"]):
            return "–"
        high = "open" if pd.isna(row["rounds_high"]) else f"{row['rounds_high']:.0f}"
        traffic, work = row["bytes_total"] / 1e9, row["flops"] / 1e12
        rounds = f"{row['rounds']:.0f} ({row['rounds_low']:.0f}–{high})"
        return f"{rounds}; {traffic:.0f} GB, {work:.0f} TFLOP"

    shown = table[table["target"].isin(TARGETS)]
    cells = shown.assign(cell=shown.apply(cell, axis=1))
    wide = cells.pivot_table("cell", "target", "algorithm", "first", sort=False)
    wide.index = [f"{target:.0f} %" for target in wide.index]
    return wide.rename_axis("validation accuracy").reset_index()


def headline(found: Scores, report: Path, beside: str) -> pd.DataFrame:
    """Accuracies after adaptation: of runs, at the paper's rates, and in the paper.

    Of several seeds their mean and standard deviation, and the interval of the mean
    over test clients, who are the same.
    """
    untuned = read_table(RESULTS / f"{beside}_accuracy.csv", index_col="algorithm")
    shown = read_table(report / "accuracy.csv", index_col="algorithm")
    rows = []
    for name, runs in found.items():
        each = [
            run["accuracy_sum_after"].sum() / run["num_query"].sum() for run in runs
        ]
        sums = sum(run[["num_query", "accuracy_sum_after"]] for run in runs)
        ends = interval(sums.rename(columns={"accuracy_sum_after": "accuracy_sum"}))
        low, high = (f"{100 * end:.1f}" for end in ends.values())
        spread = f" ± {100 * np.std(each, ddof=1):.1f}" if len(each) > 1 else ""
        label = ALGORITHMS[name].label
        rows.append(
            {
                "algorithm": label,
                "tuned, %": f"{100 * np.mean(each):.1f}{spread} ({low}–{high})",
                "Table 4's rates, %": "{:.1f} ({})".format(
                    *untuned.loc[label, ["after, %", "95 % interval"]]
                ),
                "paper, %": shown["paper"][label],
            }
        )
    return pd.DataFrame(rows)


def clients(found: Scores, reports: list[Path]) -> pd.DataFrame:
    """Query records of each test client, unnamed, and how many each run has right."""
    columns = {"records": found[COMPARED[0]][0]["num_query"]}
    for name, runs in found.items():
        for report, run in zip(reports, runs, strict=True):
            seed = report.name.rpartition("_")[2]
            columns[f"{ALGORITHMS[name].label}, {seed}"] = run["accuracy_sum_after"]
    return pd.DataFrame(columns).astype(int)


def scores(reports: list[Path]) -> Scores:
    """The test clients' scores of each algorithm in several runs, by client."""
    found = {
        name: [
            read_table(_outputs(report) / f"{name}_scores.csv", index_col="client_id")
            for report in reports
        ]
        for name in COMPARED
    }
    for name, (first, *others) in found.items():
        if any({*run.index} != {*first.index} for run in others):
            raise SystemExit(f"{name}: the seeds have other test clients")
        found[name] = [first, *(run.loc[first.index] for run in others)]
    return found


def study(report: Path) -> dict[str, pd.DataFrame]:
    """What is published of a recommendation study, by name."""
    whole = {"steps": "Int64", "parameters": "Int64"}
    found = {
        name: _named(read_table(report / f"{name}.csv", dtype=whole))
        for name in ("table3", "users")
    }
    return {**found, "statistics": statistics_of(report)}


def reproduction(report: Path, prefix: str) -> dict[str, pd.DataFrame]:
    """What is published of a grid of runs, by name; figures are copied."""
    claims = read_table(report.parent / "claims.csv")
    here = claims["experiment"].map(slug) == report.name
    if (report / "table2.md").is_file():  # of Table 2 and Figure 2, what docs show
        tables, figures = (
            ["table2", "before", "gains", "overhead"],
            ["accuracy", "density"],
        )
        here = claims["source"] == read_table(report / "table2.csv")["source"].iloc[0]
    else:
        tables, figures = (
            [f.stem for f in sorted(report.glob(f"*.{kind}"))] for kind in ("md", "svg")
        )
    for name in figures:
        path = RESULTS / f"{prefix}_{name}.svg"
        shutil.copyfile(report / f"{name}.svg", path)
        print(path)
    return {
        "claims": claims[here].drop(columns=["experiment", "source"]),
        **{
            name: _fitting(
                _from_markdown((report / f"{name}.md").read_text(encoding="utf-8"))
            )
            for name in tables
        },
    }


def _fitting(table: pd.DataFrame) -> pd.DataFrame:
    """Without deviations where these would make a table wider than a page."""
    if len(table.columns) <= MOST_WITH_DEVIATIONS:
        return table
    return table.replace(" ± .*", "", regex=True)


def _from_markdown(text: str) -> pd.DataFrame:
    lines = text.strip().splitlines()
    cells = [[c.strip() for c in line.strip("| ").split("|")] for line in lines]
    return pd.DataFrame(cells[2:], columns=cells[0])


def related(study: Study, report: Path, prefix: str) -> dict[str, pd.DataFrame]:
    """What is published of a related paper's study, by name; figures are written."""
    tables = {
        name: read_table(report / f"{table_of(dataset)}.csv")
        for name, dataset in study.further.items()
    }
    stored = [
        AtomicParquetDataset(filepath=str(report / f"{name}.parquet")).load()
        for name in ("results", "histories")
    ]
    source = read_table(report / f"{study.tables[0]}.csv")["source"].iloc[0]
    results = restored(*stored, source)
    made = study.report(results, **tables)
    for name, figure in made.figures.items():
        path = RESULTS / f"{prefix}_{name}.svg"
        figure.savefig(path, format="svg", metadata={"Date": None})
        print(path)
    shown = [section.table for section in made.sections if section.table is not None]
    return {
        "claims": read_table(report / "claims.csv"),
        **{
            name: _from_markdown(markdown(table))
            for name, table in zip(study.tables, shown, strict=True)
        },
    }


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of `STUDY`, those of percent once for each support fraction."""
    titles = {}
    for column in table.columns:
        measure, _, support = column.rpartition("_")
        if column in STUDY:
            titles[column] = STUDY[column]
        elif measure in STUDY:
            titles[column] = STUDY[measure].format(support)
    table["steps"] = table["steps"].replace(0, pd.NA)
    return titled(table, titles)


def histories(report: Path, source: str) -> pd.DataFrame:
    """All curves in one table, a row an algorithm and evaluated round."""
    folder = _outputs(report)
    return pd.concat(
        [
            read_table(folder / f"{name}_history.csv")
            .round(5)
            .assign(algorithm=ALGORITHMS[name].label, source=source)
            for name in COMPARED
        ]
    )


def _outputs(report: Path) -> Path:
    """The folder of histories and scores of the run that a report is of."""
    # data/08_reporting/<store>/<benchmark>/<run>
    return report.parents[3].joinpath("07_model_output", *report.parts[-3:])


if __name__ == "__main__":
    main()
