"""Train readings of the paper for a few rounds and compare them on validation clients.

    python tools/compare_readings.py femnist_readings --rounds 200 \
        --params femnist.raw.folder=/data/leaf

writes docs/results/femnist_readings.csv: a row a reading, its validation accuracy
before / after adaptation at each evaluated round, and how far that is in the end from
the paper's test accuracy of the algorithm (FOMAML: of MAML). Test clients are not
looked at. Each reading is a tracked `kedro run --pipeline femnist_<algorithm>`, resumed
where it was interrupted.
"""

import argparse
from pathlib import Path

import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf

from fedmeta.benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).resolve().parent.parent
SGD_1 = {"name": "sgd", "lr": 1.0}
ADAM_4 = {"name": "adam", "lr": 1e-4}
ADAM_3 = {"name": "adam", "lr": 1e-3}
PAIRS = {"optimizer": ADAM_4, "support_size": 10, "query_size": 40}
PAPER = {"fedavg_meta": "FedAvg(Meta)", "fomaml": "FedMeta(MAML)"}
EPOCH = {"epochs": 1, "batch_size": 10}

STEP = {"server": ADAM_3, "inner_lr": 1e-3}

# What is read -> algorithm, its options where they differ from the environment's.
READINGS: dict[str, tuple[str, dict]] = {
    "FedAvg(Meta), Adam 1e-4 on clients": (
        "fedavg_meta",
        {"fine_tuning": {"optimizer": ADAM_4}},
    ),
    "FedAvg(Meta), tuned by five epochs": (
        "fedavg_meta",
        {"fine_tuning": {"optimizer": ADAM_4, "epochs": 5}},
    ),
    "FedAvg(Meta), tuned by one step of SGD 0.1 on all": (
        "fedavg_meta",
        {
            "fine_tuning": {
                "optimizer": {"name": "sgd", "lr": 0.1},
                "epochs": 1,
                "batch_size": None,
            }
        },
    ),
    "FOMAML, server Adam 1e-4 (Table 4), one step of 1e-3": (
        "fomaml",
        {**STEP, "server": ADAM_4},
    ),
    "FOMAML, server Adam 1e-3, one step of 1e-3": ("fomaml", STEP),
    "the same, uniform weights (Algorithm 1)": (
        "fomaml",
        {**STEP, "weights": "uniform"},
    ),
    "the same, five steps": (
        "fomaml",
        {**STEP, "plan": {"epochs": 5, "batch_size": None}},
    ),
    "FOMAML, server Adam 1e-3, one epoch of batches of 10 at 1e-2": (
        "fomaml",
        {"server": ADAM_3, "inner_lr": 0.01, "plan": EPOCH},
    ),
    "FOMAML, Adam 1e-4 on clients over paired batches, models averaged": (
        "fomaml",
        {"inner_lr": 1e-3, "server": SGD_1, "local": PAIRS},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the file in docs/results")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--evaluate-every", type=int, default=50)
    parser.add_argument("--env", default="paper")
    parser.add_argument("--params", default="", help="as of kedro run")
    args = parser.parse_args()
    rows = []
    for label, (algorithm, options) in READINGS.items():
        given = OmegaConf.from_dotlist(args.params.split(",") if args.params else [])
        params = OmegaConf.to_container(given)
        benchmark = params.setdefault("femnist", {})
        benchmark.setdefault("training", {}).update(
            rounds=args.rounds, evaluate_every=args.evaluate_every
        )
        benchmark[algorithm] = options
        history = train(args.env, f"femnist_{algorithm}", params, algorithm)
        last = 100 * history["validation_accuracy_after"].iloc[-1]
        apart = last - BENCHMARKS["femnist"].table2[0.2][PAPER[algorithm]]
        rows.append(
            {"reading": label, **summary(history), "minus the paper's": f"{apart:+.1f}"}
        )
        table = pd.DataFrame(rows)  # written as it grows
        table.to_csv(ROOT / "docs" / "results" / f"{args.name}.csv", index=False)
        print(table.to_string(index=False), flush=True)


def train(env: str, pipeline: str, params: dict, algorithm: str) -> pd.DataFrame:
    """History of a run."""
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env=env, runtime_params=params) as session:
        session.run(
            pipeline_names=[pipeline], to_outputs=[f"femnist.{algorithm}.history"]
        )
        catalog = session.load_context().catalog
        return catalog.load(f"femnist.{algorithm}.history")


def summary(history: pd.DataFrame) -> dict[str, str]:
    """Accuracies by round, in percent."""
    return {
        f"round {row['round']:.0f}": f"{100 * row['validation_accuracy_before']:.1f} / "
        f"{100 * row['validation_accuracy_after']:.1f}"
        for _, row in history[history["round"] > 0].iterrows()
    }


if __name__ == "__main__":
    main()
