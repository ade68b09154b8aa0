"""Accuracy, fairness and cost of algorithms: a row each, from tidy results."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fedmeta.core.evaluation import metrics_of
from fedmeta.reporting import bootstrap
from fedmeta.reporting import measures as m
from fedmeta.reporting.fairness import client_accuracies, spread
from fedmeta.reporting.results import Results
from fedmeta.reporting.wording import label_of, scale

BASELINE = "fedavg"
REACHED, NOT_REACHED = "reached", "not reached"
# What the means of a metric are called in tables, where it is not by the metric's name.
NAMES = {"accuracy": "micro", "macro_accuracy": "macro"}
COSTS = ["client_rounds", "bytes_down", "bytes_up", "flops", "flops_counted"]
PRIVACY = ["epsilon", "delta"]  # columns of a private training


def accuracy_table(
    results: Results, paper: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """What every algorithm reached on the test clients, and what its training cost.

    Args:
        results: of one seed and support fraction.
        paper: published micro accuracies after adaptation by label, in percent;
            algorithms may be missing.

    Returns:
        A row an algorithm. Accuracies in percent: ``micro`` over query records,
        ``macro`` over clients, each with the ends of its 95 % interval over clients,
        ``low`` and ``high`` (`fedmeta.reporting.bootstrap`); losses in nats a record;
        of each further metric, the means over records and over clients; ``difference``
        (to the paper) and ``gain`` over FedAvg in points, where both were judged on
        the same clients; bytes and FLOPs summed over all rounds and clients. If a
        training diverged, a column ``training`` says so, and its accuracies are
        missing.
    """
    baseline = results.where(algorithm=BASELINE)
    base = m.accuracy(baseline, stage="after")
    # Accuracy first; of a made-up metric nothing is known but its name.
    metrics = metrics_of(results.scores, "_sum")
    metrics.sort(key=lambda name: name != "accuracy")

    def measured(found: Results) -> dict[str, Any]:
        after, history = m.accuracy(found, stage="after"), m.mean_history(found)
        tested = found.at("after")["num_query"]
        row = {"test_clients": len(tested), "test_records": tested.sum()}
        for metric in metrics:
            for macro in (False, True):
                name = f"{'macro_' * macro}{metric}"
                for when in ("before", "after"):
                    column = f"{NAMES.get(name, name)}_{when}"
                    mean = m.mean(found, metric, when, macro=macro)
                    row[column] = mean * scale(metric)
                    if metric == "accuracy":
                        ends = bootstrap.interval(found.at(when), macro=macro)
                        row |= {f"{column}{k}": 100 * x for k, x in ends.items()}
                if name == "accuracy":
                    alike = judged_on(found) == judged_on(baseline)
                    row["gain"] = after - base if alike else np.nan
        row["paper"] = (paper or {}).get(label_of(found.value("algorithm")), np.nan)
        return {
            **row,
            "difference": after - row["paper"],
            **_last(found).rename({"round": "rounds"}),
            **_best_validation(history),
        }

    return _finished(m.tabulate(results, ["algorithm"], measured))


def by_label(results: Results) -> dict[str, Results]:
    """The results of each algorithm by its name for people."""
    return {label_of(name): own for name, own in results.by("algorithm").items()}


def judged_on(found: Results) -> frozenset[str]:
    """The clients of the scores, or nodes that told sums."""
    return frozenset(found.at("after")["client_id"])


def targets_table(
    results: Results, validation: Mapping[str, pd.DataFrame], lowest: float = 0.5
) -> pd.DataFrame:
    """What it cost to reach each accuracy on the validation clients, with intervals.

    Args:
        results: of one seed and support fraction.
        validation: by algorithm, a row a validation client and evaluation.
        lowest: the first target, a fraction; the others follow in steps of a point, up
            to the highest accuracy that any algorithm reached.

    Returns:
        A row an algorithm and target (percent): ``rounds``, ``bytes_total`` and
        ``flops``, and the ends of their 95 % intervals over clients, as
        ``rounds_low``; missing where not reached, and all of them where more than half
        of the resamples do not reach it. If a training diverged, a column ``training``
        says so.
    """
    by_algorithm = results.by("algorithm")
    histories = {name: m.mean_history(found) for name, found in by_algorithm.items()}
    best = [history[m.AFTER].max() for history in histories.values()]
    # Whole percents; 29 % is not 28.999999999999996.
    first, last = (int(100 * end + 1e-9) for end in (lowest, np.nanmax([*best, 0.0])))
    targets = np.arange(first, last + 1)
    rows = []
    for name, history in histories.items():
        at = history.set_index("round")
        costs = {
            "rounds": at.index.to_series(),
            "bytes_total": at["bytes_down"] + at["bytes_up"],
            "flops": at["flops"],
        }
        found = bootstrap.first_reaching(validation[name], targets / 100)
        spent = {
            cost + end: values.reindex(rounds).to_numpy(float)
            for cost, values in costs.items()
            for end, rounds in found.items()
        }
        seen = {"algorithm": name, "source": results.source, "target": targets}
        words = by_algorithm[name].diverged
        rows.append(
            pd.DataFrame({**seen, **spent, **({"training": words} if words else {})})
        )
    return _finished(pd.concat(rows, ignore_index=True))


def overhead_table(results: Results, target: float) -> pd.DataFrame:
    """What it cost to reach an accuracy on the validation clients (paper, Fig. 3).

    The accuracy is the un-smoothed micro accuracy after adaptation, at evaluated
    rounds, its mean over seeds.

    Args:
        results: of one support fraction.
        target: the accuracy to reach, a fraction.

    Returns:
        A row an algorithm. Where ``outcome`` is not "reached" the costs are missing.
        ``communication_reduction`` is FedAvg's bytes over these, ``flops_difference``
        is counted against analytic over the whole run, in percent.

    Raises:
        ValueError: if the target is no fraction.
    """
    if not 0 < target <= 1:
        raise ValueError(
            f"target accuracy is {target}, expected a fraction in (0, 1]; "
            "write 74 % as 0.74"
        )

    def spent(found: Results) -> pd.Series:
        row = m.first_reaching(m.mean_history(found), target)
        spent = pd.Series(np.nan, ["round", *COSTS]) if row is None else row
        both = spent["bytes_down"] + spent["bytes_up"]
        return pd.Series({**spent, "bytes_total": both})

    base = spent(results.where(algorithm=BASELINE))["bytes_total"]

    def measured(found: Results) -> dict[str, Any]:
        cost, whole = spent(found), _last(found)
        best = _best_validation(m.mean_history(found))["best_validation_accuracy"]
        reached = REACHED if np.isfinite(cost["round"]) else NOT_REACHED
        return {
            "target": 100 * target,
            "outcome": found.diverged or reached,
            "best_accuracy": best,
            "rounds": cost["round"],
            **cost[["client_rounds", "bytes_down", "bytes_up", "bytes_total"]],
            **cost[["flops", "flops_counted"]],
            "flops_difference": 100
            * (m.ratio(whole["flops_counted"], whole["flops"]) - 1),
            "communication_reduction": m.ratio(base, cost["bytes_total"]),
        }

    table = m.tabulate(results, ["algorithm"], measured)
    return _finished(table.drop(columns="training", errors="ignore"))


def fairness_table(results: Results) -> pd.DataFrame:
    """Spread of the clients' accuracies after adaptation, a row an algorithm.

    Returns:
        Accuracies and shares of clients in percent, the variance in squared points;
        Jain, Gini and cosine in [0, 1]; entropy and KL divergence in nats.
        ``share_worse_than_baseline`` compares with FedAvg before adaptation, client by
        client.
    """
    base = client_accuracies(results.where(algorithm=BASELINE))["before"]

    def measured(found: Results) -> dict[str, Any]:
        accuracies = client_accuracies(found)
        after, change = accuracies["after"], accuracies["after"] - accuracies["before"]
        return {
            "clients": len(after),
            **spread(after.to_numpy(dtype=float)),
            "share_perfect": 100 * (after == 1).mean(),
            "share_better": 100 * (change > 0).mean(),
            "share_unchanged": 100 * (change == 0).mean(),
            "share_worse": 100 * (change < 0).mean(),
            "share_worse_than_baseline": 100 * ((after - base).dropna() < 0).mean(),
        }

    return _finished(m.tabulate(results, ["algorithm"], measured))


def _best_validation(history: pd.DataFrame) -> dict[str, float]:
    names = ["best_validation_accuracy", "best_validation_round"]
    if history.empty or history[m.AFTER].isna().all():
        return dict.fromkeys(names, np.nan)
    best = history.loc[history[m.AFTER].idxmax()]
    return dict(zip(names, [100 * best[m.AFTER], best["round"]], strict=True))


def _last(found: Results) -> pd.Series:
    """The last evaluated round, its mean over seeds; also of what diverged."""
    ordered = found.histories.sort_values("round")
    columns = ["round", *COSTS, *(n for n in PRIVACY if n in ordered)]
    last = ordered.groupby("seed", dropna=False).tail(1)[columns]
    return last.astype(float).mean(skipna=False)


def _finished(table: pd.DataFrame) -> pd.DataFrame:
    """With labels, and counts as integers."""
    counts = ["best_validation_round", "client_rounds", "bytes_down", "bytes_up"]
    ends = ("", *bootstrap.ENDS)
    counts += [f"{name}{end}" for name in ("rounds", "bytes_total") for end in ends]
    table = table.assign(algorithm=table["algorithm"].map(label_of))
    return m.whole(table, *counts)
