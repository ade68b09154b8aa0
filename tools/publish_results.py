"""Copy the small tables of a finished run into docs/results, for the results page.

    python tools/publish_results.py data/08_reporting/paper/femnist/p0.2_seed0 femnist

writes docs/results/femnist_{accuracy,overhead,fairness,statistics,history}.csv. Numbers
are rounded for reading; clients' own scores stay behind.
"""

import argparse
from pathlib import Path

import pandas as pd

from fedmeta.core.algorithms import ALGORITHMS

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
ACCURACY = {
    "algorithm": "algorithm",
    "micro_before": "before, %",
    "micro_after": "after, %",
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
    "bytes_total": "bytes",
    "flops": "FLOPs, analytic",
    "flops_counted": "FLOPs, counted",
    "flops_difference": "difference, %",
    "communication_reduction": "traffic of FedAvg / this",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, help="folder of the run's report")
    parser.add_argument("prefix", help="of the files in docs/results")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    report = args.report.resolve()
    for name, table in tables(report).items():
        path = RESULTS / f"{args.prefix}_{name}.csv"
        # curves are drawn from the history: there, nothing stands for nothing
        table.to_csv(path, index=False, na_rep="" if name == "history" else "–")
        print(path)


def tables(report: Path) -> dict[str, pd.DataFrame]:
    """What is published of a run, by name."""
    accuracy = pd.read_csv(report / "accuracy.csv")
    overhead = pd.read_csv(report / "overhead.csv")
    fairness = pd.read_csv(report / "fairness.csv").drop(columns="source")
    # data/<stage>/<store>/<benchmark>/<run>: Table 1 does not depend on the run
    statistics = pd.read_csv(report.parent / "statistics.csv")
    return {
        "accuracy": accuracy[list(ACCURACY)].rename(columns=ACCURACY).round(2),
        "overhead": overhead[list(OVERHEAD)].rename(columns=OVERHEAD).round(2),
        "fairness": fairness.set_index("algorithm")
        .T.round(3)
        .reset_index(names="measure, after adaptation"),
        "statistics": statistics.drop(columns="quantity").round(2),
        "history": histories(report, accuracy["source"].iloc[0]),
    }


def histories(report: Path, source: str) -> pd.DataFrame:
    """All curves in one table, a row an algorithm and evaluated round."""
    data, (store, benchmark, run) = report.parents[3], report.parts[-3:]
    folder = data / "07_model_output" / store / benchmark / run
    return pd.concat(
        [
            pd.read_csv(folder / f"{name}_history.csv")
            .round(5)
            .assign(algorithm=entry.label, source=source)
            for name, entry in ALGORITHMS.items()
        ]
    )


if __name__ == "__main__":
    main()
