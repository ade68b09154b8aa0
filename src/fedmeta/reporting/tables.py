"""Accuracy and cost, one row an algorithm."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fedmeta.core.evaluation import metrics_of
from fedmeta.reporting import bootstrap
from fedmeta.reporting.divergence import divergence, judged, training_cell
from fedmeta.reporting.wording import scale

Tables = Mapping[str, pd.DataFrame]  # an algorithm's label -> its history or scores

BASELINE = "FedAvg"
REACHED, NOT_REACHED = "reached", "not reached"
# What the means of a metric are called in tables, where it is not by the metric's name.
NAMES = {"accuracy": "micro", "macro_accuracy": "macro"}
COSTS = ["client_rounds", "bytes_down", "bytes_up", "flops", "flops_counted"]


def accuracy_table(
    scores: Tables,
    histories: Tables,
    paper: Mapping[str, float] | None,
    source: str,
    baseline: str = BASELINE,
) -> pd.DataFrame:
    """What every algorithm reached on the test clients, and what its training cost.

    Args:
        scores: A row a test client; see the package's docstring.
        histories: A row an evaluated round, costs cumulative.
        paper: Published micro accuracies after adaptation, in percent; algorithms may
            be missing.
        source: What the data are, such as "synthetic sample"; repeated in every row.
        baseline: The algorithm that ``gain`` is measured against.

    Returns:
        A row an algorithm. Accuracies in percent: ``micro`` over query records,
        ``macro`` over clients, each with the ends of its 95 % interval over clients,
        ``low`` and ``high`` (`fedmeta.reporting.bootstrap`); losses in nats a record;
        of each further metric, the means over records and over clients; ``difference``
        (to the paper) and ``gain`` in points; bytes and FLOPs summed over all rounds
        and clients. If a training diverged, a column ``training`` says so, and its
        accuracies are missing.
    """
    rows = [
        {
            "algorithm": label,
            "source": source,
            **_test_results(table),
            "paper": (paper or {}).get(label, np.nan),
            **_training_cost(histories[label]),
            **_best_validation(judged(histories[label])),
            **training_cell({"": table}),
        }
        for label, table in scores.items()
    ]
    table = pd.DataFrame(rows)
    after = table["micro_after"]
    table.insert(
        table.columns.get_loc("paper") + 1, "difference", after - table["paper"]
    )
    base = after[table["algorithm"] == baseline]
    gain = after - base.iloc[0] if len(base) else np.nan
    table.insert(table.columns.get_loc("micro_after_high") + 1, "gain", gain)
    return _whole_numbers(table)


def targets_table(
    histories: Tables, validation: Tables, source: str, lowest: float = 0.5
) -> pd.DataFrame:
    """What it cost to reach each accuracy on the validation clients, with intervals.

    Args:
        histories: A row an evaluated round, costs cumulative.
        validation: A row a validation client and evaluation.
        source: What the data are; repeated in every row.
        lowest: The first target, a fraction; the others follow in steps of a point, up
            to the highest accuracy that any algorithm reached.

    Returns:
        A row an algorithm and target (percent): ``rounds``, ``bytes_total`` and
        ``flops``, and the ends of their 95 % intervals over clients, as
        ``rounds_low``; missing where not reached, and all of them where more than half
        of the resamples do not reach it. If a training diverged, a column ``training``
        says so.
    """
    reached = {k: judged(history) for k, history in histories.items()}
    best = [h["validation_accuracy_after"].max() for h in reached.values()]
    # Whole percents; 29 % is not 28.999999999999996.
    first, last = (int(100 * end + 1e-9) for end in (lowest, np.nanmax([*best, 0.0])))
    targets = np.arange(first, last + 1)
    rows = []
    for label, history in reached.items():
        at = history.set_index("round")
        costs = {
            "rounds": at.index.to_series(),
            "bytes_total": at["bytes_down"] + at["bytes_up"],
            "flops": at["flops"],
        }
        found = bootstrap.first_reaching(validation[label], targets / 100)
        spent = {
            name + end: cost.reindex(rounds).to_numpy(float)
            for name, cost in costs.items()
            for end, rounds in found.items()
        }
        seen = {"algorithm": label, "source": source, "target": targets}
        words = training_cell({"": histories[label]})
        rows.append(pd.DataFrame({**seen, **spent, **words}))
    return _whole_numbers(pd.concat(rows, ignore_index=True))


def overhead_table(
    histories: Tables, target: float, source: str, baseline: str = BASELINE
) -> pd.DataFrame:
    """What it cost to reach an accuracy on the validation clients (paper, Fig. 3).

    The accuracy is the un-smoothed micro accuracy after adaptation, at evaluated
    rounds.

    Args:
        histories: A row an evaluated round, costs cumulative.
        target: The accuracy to reach, a fraction.
        source: What the data are; repeated in every row.
        baseline: The algorithm whose bytes ``communication_reduction`` divides.

    Returns:
        A row an algorithm. Where ``outcome`` is not "reached" the costs are missing.
        ``flops_difference`` is counted against analytic over the whole run, in percent.

    Raises:
        ValueError: If the target is no fraction.
    """
    if not 0 < target <= 1:
        raise ValueError(
            f"target accuracy is {target}, expected a fraction in (0, 1]; "
            "write 74 % as 0.74"
        )
    rows = []
    for label, history in histories.items():
        row = first_reaching(judged(history), target)
        whole = _last(history)
        best = _best_validation(judged(history))
        rows.append(
            {
                "algorithm": label,
                "source": source,
                "target": 100 * target,
                "outcome": divergence(history)
                or (NOT_REACHED if row is None else REACHED),
                "best_accuracy": best["best_validation_accuracy"],
                "rounds": np.nan if row is None else row["round"],
                **{name: np.nan if row is None else row[name] for name in COSTS},
                "flops_difference": 100
                * (_ratio(whole["flops_counted"], whole["flops"]) - 1),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(
        table.columns.get_loc("bytes_up") + 1,
        "bytes_total",
        table["bytes_down"] + table["bytes_up"],
    )
    base = table.loc[table["algorithm"] == baseline, "bytes_total"]
    base_bytes = base.iloc[0] if len(base) else np.nan
    table["communication_reduction"] = [
        _ratio(base_bytes, spent) for spent in table["bytes_total"]
    ]
    return _whole_numbers(table)


def means(scores: pd.DataFrame, sums: str, metric: str) -> dict[str, float]:
    """A metric's mean over query records, under its name, and over clients: "macro".

    Args:
        scores: A row a client.
        sums: The column with the metric's sums over a client's query records.
        metric: Its name.
    """
    measured = scores[scores["num_query"] > 0]  # no accuracy without a query record
    values, queries = measured[sums], measured["num_query"]
    return {
        metric: float(_ratio(values.sum(skipna=False), queries.sum())),
        f"macro_{metric}": float((values / queries).mean(skipna=False)),
    }


def first_reaching(history: pd.DataFrame, target: float) -> pd.Series | None:
    """The first row whose accuracy after adaptation is at least the target, if any."""
    if history.empty:
        return None
    reached = history[history["validation_accuracy_after"] >= target]
    return None if reached.empty else reached.loc[reached["round"].idxmin()]


def _test_results(scores: pd.DataFrame) -> dict[str, float]:
    queries = scores["num_query"]
    results = {
        "test_clients": int((queries > 0).sum()),
        "test_records": int(queries.sum()),
    }
    # Accuracy first; of a made-up metric nothing is known but its name.
    for metric in sorted(metrics_of(scores), key=lambda name: name != "accuracy"):
        found = {
            when: means(scores, f"{metric}_sum_{when}", metric)
            for when in ("before", "after")
        }
        for name in (metric, f"macro_{metric}"):
            for when, mean in found.items():
                results[f"{NAMES.get(name, name)}_{when}"] = scale(metric) * mean[name]
                if metric == "accuracy":
                    results |= _interval(scores, NAMES[name], when)
    return results


def _interval(scores: pd.DataFrame, name: str, when: str) -> dict[str, float]:
    """Ends of the 95 % interval of an accuracy over clients, in percent."""
    measured = scores[scores["num_query"] > 0]
    sums, counts = measured[f"accuracy_sum_{when}"], measured["num_query"]
    if name == "macro":
        sums, counts = sums / counts, counts**0
    ends = bootstrap.interval(sums.to_numpy(float), counts.to_numpy(float))
    return {f"{name}_{when}{end}": 100 * value for end, value in ends.items()}


def _training_cost(history: pd.DataFrame) -> dict[str, float]:
    last = _last(history)
    return {"rounds": last["round"], **{name: last[name] for name in COSTS}}


def _best_validation(history: pd.DataFrame) -> dict[str, float]:
    names = ["best_validation_accuracy", "best_validation_round"]
    if history.empty or history["validation_accuracy_after"].isna().all():
        return dict.fromkeys(names, np.nan)
    best = history.loc[history["validation_accuracy_after"].idxmax()]
    values = [100 * best["validation_accuracy_after"], best["round"]]
    return dict(zip(names, values, strict=True))


def _last(history: pd.DataFrame) -> pd.Series:
    if history.empty:
        return pd.Series(dict.fromkeys(["round", *COSTS], np.nan))
    return history.loc[history["round"].idxmax()]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else np.nan


def _whole_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as integers that may be missing, so that a CSV reads 60 and not 60.0."""
    counts = ["best_validation_round", "client_rounds", "bytes_down", "bytes_up"]
    ends = ("", *bootstrap.ENDS)
    counts += [f"{name}{end}" for name in ("rounds", "bytes_total") for end in ends]
    return table.astype({name: "Int64" for name in counts if name in table})
