"""What MLflow is told of a run: pure functions of its tables and parameters."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedmeta.core.evaluation import metrics_of
from fedmeta.reporting.measures import means

SECTIONS = ("train", "validation")  # prefixes of history columns; the rest are costs
TIMES = TRAINING, EVALUATION, A_ROUND = (
    "cost/training_seconds",
    "cost/evaluation_seconds",
    "cost/seconds_per_round",
)
PROBE = "meta_gradient_norm"  # but for this one


class Point(NamedTuple):
    """One value of one curve."""

    name: str  # "section/measure": MLflow's charts have a section for each prefix
    value: float
    round: int


def curve_points(history: pd.DataFrame) -> Iterator[Point]:
    """Yield the points of a history; MLflow has no way to hold what is not finite."""
    for row in history.to_dict(orient="records"):
        number = int(row.pop("round"))
        for column, value in row.items():
            if math.isfinite(value):
                yield Point(metric_name(column), float(value), number)


def timing_points(timing: Sequence[Mapping[str, float]]) -> Iterator[Point]:
    """Yield the wall-clock seconds of a training, and of one round at that time.

    Args:
        timing: rows of `fedmeta.pipelines.progress.Clock.at`.
    """
    for row in timing:
        number = int(row["round"])
        yield Point(TRAINING, row["training"], number)
        yield Point(EVALUATION, row["evaluation"], number)
    for before, row in pairwise(timing):
        seconds = row["training"] - before["training"]
        rounds = row["round"] - before["round"]
        yield Point(A_ROUND, seconds / rounds, int(row["round"]))


def not_finite(history: pd.DataFrame | None, scores: pd.DataFrame | None) -> str:
    """Metrics that are not finite, and so are not logged, with their first round."""
    found = []
    history = pd.DataFrame({"round": []}) if history is None else history
    for column in history.columns.drop("round"):
        # Before the first round there is nothing to say of training clients.
        seen = history["round"] > (0 if column.startswith("train_") else -1)
        bad = history.loc[seen & ~np.isfinite(history[column].astype(float)), "round"]
        if len(bad):
            found.append(f"{metric_name(column)} from round {bad.min()}")
    final = {} if scores is None else final_metrics(scores)
    found += [name for name, value in final.items() if not math.isfinite(value)]
    return ", ".join(found)


def metric_name(column: str) -> str:
    """ "train_loss" -> "train/loss", "bytes_up" -> "cost/bytes_up"."""
    if column == PROBE:
        return f"train/{column}"
    section, _, measure = column.partition("_")
    return f"{section}/{measure}" if section in SECTIONS else f"cost/{column}"


def final_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Fractions of the test clients' query records (micro) and of clients (macro).

    Scores of several support fractions and numbers of steps, as the recommendation
    study has them, or of epochs of personalisation give a value for each.
    """
    if scores.empty:  # of a training that diverged
        return {}
    if "support_fraction" in scores:
        return _ranking_metrics(scores)
    if "epochs" in scores:
        return _metrics_by_epochs(scores)
    metrics = {
        f"test/{name}_{when}": value
        for metric in metrics_of(scores)
        for when in ("before", "after")
        for name, value in means(scores, f"{metric}_sum_{when}", metric).items()
    }
    tested = scores[scores["num_query"] > 0]
    worse = tested["accuracy_sum_after"] < tested["accuracy_sum_before"]
    return {**metrics, "test/share_made_worse": float(worse.mean())}


def _ranking_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """ "test/top1_p80" after the most steps, "test/top1_p80_steps100" after fewer."""
    metrics, most = {}, scores["steps"].max()
    for (fraction, steps), rows in scores.groupby(["support_fraction", "steps"]):
        suffix = f"_p{100 * fraction:g}" + ("" if steps == most else f"_steps{steps}")
        for top in ("top1", "top4"):
            hits = rows[top].sum() / rows["num_query"].sum()
            metrics[f"test/{top}{suffix}"] = float(hits)
    return metrics


def _metrics_by_epochs(scores: pd.DataFrame) -> dict[str, float]:
    """ "test/accuracy_epochs5": after five epochs of personalisation."""
    return {
        f"test/{name}_epochs{epochs}": value
        for epochs, rows in scores.groupby("epochs")
        for metric in metrics_of(scores, "_sum")
        for name, value in means(rows, f"{metric}_sum", metric).items()
    }


def run_parameters(
    blocks: Mapping[str, Any], own: Collection[str], others: Collection[str]
) -> dict[str, str]:
    """Parameters of one algorithm's run, flat.

    Args:
        blocks: a benchmark's blocks of parameters by name.
        own: names of the algorithm's blocks, the one that is trained first. They are
            called "algorithm", so that equal options of different algorithms meet in
            one column.
        others: names of blocks of other algorithms: left out.
    """
    algorithm = {k: v for name in own for k, v in (blocks.get(name) or {}).items()}
    shared = {k: v for k, v in blocks.items() if k not in {*own, *others}}
    return dict(_flat({"algorithm": algorithm, **shared}))


def run_name(what: str, named: Mapping[str, Any]) -> str:
    """The difference first: the UI cuts names at 20 characters.

    Args:
        what: an algorithm, or what else the run is.
        named: the globals, which the folder of the run's results is named by.
    """
    return f"{what} p{named['support_fraction']} s{named['seed']}"


def experiment_name(benchmark: str, stand_in: str) -> str:
    """Only a benchmark's own data go under its name alone."""
    return f"{benchmark} ({stand_in})" if stand_in else benchmark


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
