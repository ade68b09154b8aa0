"""Recorded runs as `Recorded.runs` gives them, with curves that rise like real ones."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd

from fedmeta.reproduction.runs import Recorded
from fedmeta.reproduction.settings import choose
from fedmeta.reproduction.study import Reproduction, read, table2_study

# algorithm -> (accuracy after adaptation, before) at 20 % support
LEVELS = {
    "fedavg": (0.74, 0.74),
    "fedavg_meta": (0.80, 0.74),
    "maml": (0.88, 0.60),
    "fomaml": (0.87, 0.80),
    "meta_sgd": (0.90, 0.59),
}
SPEED = {"fedavg": 300, "fedavg_meta": 300, "maml": 180, "fomaml": 160, "meta_sgd": 120}


def recorded(
    algorithm: str,
    fraction: float = 0.2,
    seed: int | None = 0,
    after: float = 0.8,
    before: float = 0.7,
    **changed: Any,
) -> dict[str, Any]:
    """A finished run on the benchmark's own data; ``changed`` replaces columns."""
    given = changed.pop("parameters", {})
    return {
        "run_id": f"{algorithm} {fraction} {seed} {changed.get('ended', 1)}",
        "experiment": "femnist",
        "benchmark": "femnist",
        "algorithm": algorithm,
        "source": "real",
        "data_name": "",
        "data_checksum": "records",
        "store": "paper",
        "diverged": "",
        "support_fraction": fraction,
        "seed": seed,
        "env": "paper",
        "commit": "c0ffee",
        "code": {},
        "status": "FINISHED",
        "ended": 1,
        "artifacts": "",
        "parameters": {
            "training.rounds": "2000",
            "training.seed": str(seed),
            "partition.support_fraction": str(fraction),
            "algorithm.lr": f"0.1 of {algorithm}",
            **given,
        },
        "metrics": {
            "test/accuracy_after": after,
            "test/accuracy_before": before,
            "test/macro_accuracy_after": after,
        },
        **changed,
    }


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """With the types that `Recorded.runs` has."""
    return pd.DataFrame(list(rows)).astype({"seed": "Int64", "support_fraction": float})


def history(algorithm: str, seed: int = 0, rounds: int = 2000) -> pd.DataFrame:
    """A row each 100 rounds; 1 MB a round each way."""
    high, low = LEVELS.get(algorithm, (0.8, 0.7))
    t = np.arange(0, rounds + 1, 100)
    noise = np.random.default_rng([seed, len(algorithm)]).normal(0, 0.008, len(t))
    rise = 1 - np.exp(-t / SPEED.get(algorithm, 200))
    after = np.clip(high * rise + noise * rise, 0.01, 1)
    before = after if algorithm == "fedavg" else np.clip(low * rise + noise, 0.01, 1)
    loss = np.where(t > 0, 4.1 - 3.5 * after, np.nan)
    return pd.DataFrame(
        {
            "round": t,
            "train_loss": loss,
            "validation_loss_before": 4.2 - 3.5 * before,
            "validation_accuracy_before": before,
            "validation_macro_accuracy_before": before,
            "validation_loss_after": 4.2 - 3.5 * after,
            "validation_accuracy_after": after,
            "validation_macro_accuracy_after": after,
            "bytes_down": t * 1_000_000,
            "bytes_up": t * 1_000_000,
            "flops": t * 10**9,
            "flops_counted": t * 10**9,
            "client_rounds": t * 4,
        }
    )


def scores(run: Any, clients: int = 108) -> pd.DataFrame:
    """A row a test client, as accurate as the run; every other one a bit more.

    Args:
        run: A row of `frame`, or what `recorded` gives.
    """
    found = run["metrics"] if isinstance(run, dict) else run.metrics
    queries = np.full(clients, 1000)
    spread = 50 * (1 - 2 * (np.arange(clients) % 2))
    right = {
        f"accuracy_sum_{when}": 1000 * found.get(f"test/accuracy_{when}", 0) + spread
        for when in ("before", "after")
    }
    return pd.DataFrame(
        {
            "client_id": [f"client {i}" for i in range(clients)],
            "num_support": queries // 4,
            "num_query": queries,
            **{name: np.round(sums).astype(int) for name, sums in right.items()},
            "loss_sum_before": queries * 1.0,
            "loss_sum_after": queries * 0.5,
        }
    )


class Store(Recorded):
    """Histories and scores of made-up runs, from memory."""

    def __init__(self) -> None:
        """Open nothing."""

    def table(self, run: Any, path: str) -> pd.DataFrame | None:
        """As `Recorded.table`; of what diverged, all before round 150."""
        kind = path.removesuffix(".csv").rpartition("_")[2]
        if kind == "scores":
            return scores(run)[:0] if run.diverged else scores(run)
        table = history(run.algorithm, run.seed)
        return table[table["round"] < 150] if run.diverged else table


def table2_of(
    rows: pd.DataFrame,
    name: str = "femnist",
    target: float | None = 0.7,
    store: Recorded | None = None,
) -> Reproduction:
    """What `kedro reproduce` makes of the runs of an experiment."""
    runs = read(store or Store(), {"femnist": choose(rows)})
    configured = {} if target is None else {"report": {"target_accuracy": target}}
    return table2_study(name, runs, configured)


def write_store(folder: Path, rows: Iterable[dict[str, Any]]) -> str:
    """An MLflow store of such runs, with their files.

    Returns:
        Its tracking URI.
    """
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    experiments: dict[str, str] = {}
    for row in rows:
        name = row["experiment"]
        if name not in experiments:
            place = (folder / "mlartifacts" / name.replace(" ", "_")).as_uri()
            experiments[name] = client.create_experiment(name, place)
        tags = {
            "benchmark": row["benchmark"],
            "algorithm": row["algorithm"],
            "source": row["source"],
            "data_name": row["data_name"],
            "data_checksum": row["data_checksum"],
            "store": row["store"],
            "support_fraction": str(row["support_fraction"]),
            "seed": "" if row["seed"] is None else str(row["seed"]),
            "kedro_env": row["env"],
            "git_commit": row["commit"],
            "code": json.dumps(row["code"]),
        }
        run = client.create_run(experiments[name], start_time=row["ended"] - 1)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(k, v, 1, 0) for k, v in row["metrics"].items()],
            params=[Param(k, v) for k, v in row["parameters"].items()],
            tags=[RunTag(k, v) for k, v in tags.items()],
        )
        files = Path(unquote(run.info.artifact_uri.removeprefix("file://")))
        files.mkdir(parents=True, exist_ok=True)
        own = row["algorithm"]
        history(own, row["seed"]).to_csv(files / f"{own}_history.csv", index=False)
        scores(row).to_csv(files / f"{own}_scores.csv", index=False)
        client.set_terminated(run.info.run_id, row["status"], end_time=row["ended"])
    return uri
