"""Headings, meanings and units of the tables' columns, for people."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedmeta.core.algorithms import ALGORITHMS

MISSING = "–"
NOT_FINITE = "not finite"
PREFIXES = ["", "k", "M", "G", "T", "P", "E"]

METRIC = re.compile(r"(macro_)?(.+)_(before|after)")  # a column of one
SHARES = re.compile(r"accuracy|top(\d+)")  # metrics that are shown in percent
HEADLINE = ["algorithm", "training", "micro_before", "micro_after"]
HEADLINE += ["micro_after_interval", "gain", "paper"]
HEADLINE += ["difference", "rounds", "bytes_down", "bytes_up", "flops"]


class Column(NamedTuple):
    """How a column is shown."""

    title: str
    text: Callable[[Any], str]
    meaning: str = ""
    missing: str = MISSING


def label_of(algorithm: str) -> str:
    """An algorithm's name for people; one that is not in the table keeps its own."""
    return ALGORITHMS[algorithm].label if algorithm in ALGORITHMS else algorithm


def percent(fraction: float) -> str:
    """A fraction in words: 20 %."""
    return f"{100 * fraction:g} %"


def bytes_text(count: float) -> str:
    """Bytes with a decimal prefix, to three digits: 106 MB."""
    return _with_prefix(count, "B")


def flops_text(count: float) -> str:
    """Floating-point operations with a decimal prefix, to three digits: 2.50 TFLOP."""
    return _with_prefix(count, "FLOP")


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """The table with words in a column ``x_interval`` for ``x_low`` and ``x_high``."""
    shown = table.copy()
    for low in table.filter(regex="_low$"):
        name = low.removesuffix("_low")
        ends = zip(shown.pop(low), shown.pop(f"{name}_high"), strict=True)
        words = [None if pd.isna(a) else f"{a:.1f}–{b:.1f}" for a, b in ends]
        shown.insert(shown.columns.get_loc(name) + 1, f"{name}_interval", words)
    return shown


def headline_columns(accuracy: pd.DataFrame) -> list[str]:
    """The few columns to show first, without those that are wholly missing."""
    place = HEADLINE.index("gain") + 1
    names = [*HEADLINE[:place], *further_metrics(accuracy), *HEADLINE[place:]]
    return [n for n in names if n in accuracy and not accuracy[n].isna().all()]


def further_metrics(accuracy: pd.DataFrame) -> list[str]:
    """Columns of the metrics beside accuracy and loss, after adaptation."""
    return [
        name
        for name in accuracy
        if name not in COLUMNS and METRIC.fullmatch(name) and name.endswith("_after")
        if not name.startswith("macro_")
    ]


def scale(metric: str) -> int:
    """By what a metric's mean is multiplied to be shown: 100 for shares of records."""
    return 100 if SHARES.fullmatch(metric) else 1


def column_of(name: str, columns: Mapping[str, Column] | None = None) -> Column:
    """How to show a column; a name that is not among ``columns`` is taken as it is."""
    known = COLUMNS if columns is None else {"training": TRAINING, **columns}
    found = METRIC.fullmatch(str(name)) if columns is None else None
    if name not in known and found:
        return _metric_column(*found.groups(default=""))
    for pattern, make in PATTERNS if columns is None else ():
        if match := pattern.fullmatch(str(name)):
            return make(*match.groups())
    return known.get(name, Column(str(name).replace("_", " "), _plain))


def _metric_column(macro: str, metric: str, when: str) -> Column:
    share = SHARES.fullmatch(metric)
    title = f"Top-{share[1]}" if share else metric.replace("_", " ").capitalize()
    of = f" whose class is among the {share[1]} highest" if share else ""
    meaning = f"{'share' if share else 'mean'} of query records{of}"
    meaning += ", every client counts the same" if macro else ""
    text = _percent if share else _decimals(3)
    title = f"Mean client {title.lower()}" if macro else title
    return Column(f"{title} {when}", text, meaning)


def _with_prefix(count: float, unit: str) -> str:
    value, prefixes = float(count), iter(PREFIXES)
    prefix = next(prefixes)
    while abs(value) >= 999.5 and prefix != PREFIXES[-1]:
        value, prefix = value / 1000, next(prefixes)
    # three significant digits; plain counts are whole
    digits = 0 if not prefix else 2 - int(np.log10(max(abs(value), 1)))
    return f"{value:.{max(digits, 0)}f} {prefix}{unit}"


def _plain(value: Any) -> str:
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, int | np.integer) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}"


def _percent(value: float) -> str:
    return f"{value:.1f} %"


def _points(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # never -0.0


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}"


TRAINING = Column("Training", str)
INTERVALS = {
    "micro_before": "Before, 95 % interval",
    "micro_after": "After, 95 % interval",
    "macro_before": "Mean client before, 95 % interval",
    "macro_after": "Mean client after, 95 % interval",
}
STEPS = re.compile(r"steps_(\d+)")
PATTERNS: list[tuple[re.Pattern, Callable[..., Column]]] = [
    (
        re.compile(r"stage(\d)_(\d+)"),
        lambda stage, n: Column(
            f"Stage\N{NO-BREAK SPACE}{stage}, "
            + (f"after {n} epoch{'s' * (n != '1')}" if n != "0" else "initial"),
            "{:.1f}".format,
        ),
    ),
    (
        re.compile(r"(?:paper_)?(mean_)?top(\d+)_[\d.]+"),
        lambda mean, k: Column(f"{'Mean ' * bool(mean)}Top-{k}", "{:.2f}".format),
    ),
    (
        re.compile(r"p10_top1_[\d.]+"),
        lambda: Column("10th percentile", "{:.2f}".format),
    ),
    (re.compile(r"beats_mru_[\d.]+"), lambda: Column("Beats MRU", "{:.0f} %".format)),
    (STEPS, lambda n: Column("1 step" if n == "1" else f"{n} steps", "{:.1f}".format)),
]
COLUMNS = {
    **{
        f"{name}_interval": Column(
            title, str, "had other clients been drawn: bootstrap"
        )
        for name, title in INTERVALS.items()
    },
    "interval": Column("95 %", str),
    "setting": Column("Users", str),
    "method": Column("Method", str),
    "parameters": Column("Parameters", _plain),
    "steps": Column("Steps", lambda count: f"{count:,}" if count else MISSING),
    "support_fraction": Column("Support", lambda share: f"{100 * share:g} %"),
    "question": Column("What the paper leaves open", str),
    "answer": Column("Read as", str),
    "before": Column("Before", _percent),
    "after": Column("After", _percent),
    "against_taken": Column("– the one taken", "{:+.1f}".format),
    "minus_paper": Column("– the paper", "{:+.1f}".format),
    "recipe": Column("Fine-tuned by", str),
    "points_gained": Column("Gain", _points),
    "papers_gain": Column("The paper's gain", _points),
    "epochs": Column("Epochs", "{:,}".format),
    "accuracy": Column("Accuracy", _percent),
    "variant": Column("E", str),
    "evaluations": Column("Evaluated rounds", "{:.0f}".format),
    "initial": Column("Initial accuracy", "{:.2f}".format),
    "personalised": Column("Personalised accuracy", "{:.2f}".format),
    "tau": Column("τ", str),
    "kinds": Column("Kinds of users", str),
    "pairs": Column("Pairs", "{:,}".format),
    "label_tv": Column("Mean total variation of labels", "{:.3f}".format),
    "feature_w1": Column("Mean distance of features", "{:.3f}".format),
    "paper_fedavg_update": Column("Paper, MNIST: FedAvg + update", "{:.2f}".format),
    "paper_fo": Column("Paper, MNIST: FO", "{:.2f}".format),
    "paper_hf": Column("Paper, MNIST: HF", "{:.2f}".format),
    "nu_train": Column("ν", str),
    "final": Column("Final accuracy", _percent),
    "best": Column("Best accuracy", _percent),
    "round_reaching": Column("Reaches ν = 1's final at round", "{:,}".format),
    "flops_reaching": Column("… after computing", flops_text),
    "algorithm": Column("Algorithm", str),
    "source": Column("Data", str),
    "training": TRAINING,
    "test_clients": Column("Test clients", _plain, "never seen in training"),
    "test_records": Column("Test records", _plain, "the test clients' query records"),
    "micro_before": Column(
        "Accuracy before", _percent, "share of all query records, as trained"
    ),
    "micro_after": Column(
        "Accuracy after",
        _percent,
        "the same, once the model has adapted to each client's support records",
    ),
    "gain": Column("Over FedAvg", _points, "accuracy after, in points"),
    "macro_before": Column(
        "Mean client accuracy before", _percent, "every client counts the same"
    ),
    "macro_after": Column(
        "Mean client accuracy after", _percent, "every client counts the same"
    ),
    "loss_before": Column(
        "Loss before", _decimals(3), "nats a query record", NOT_FINITE
    ),
    "loss_after": Column("Loss after", _decimals(3), "nats a query record", NOT_FINITE),
    "paper": Column("Paper", _percent, "published accuracy after adaptation"),
    "difference": Column("Ours – paper", _points, "points"),
    "rounds": Column("Rounds", _plain),
    "client_rounds": Column("Client updates", _plain, "clients summed over rounds"),
    "bytes_down": Column("Received", bytes_text, "by all clients from the server"),
    "bytes_up": Column("Sent", bytes_text, "by all clients to the server"),
    "bytes_total": Column("Traffic", bytes_text, "received and sent, all clients"),
    "flops": Column("Compute", flops_text, "all clients, by formula"),
    "flops_counted": Column("Compute, counted", flops_text, "by an operation counter"),
    "flops_difference": Column(
        "Counted – formula",
        lambda value: f"{value:+.2f} %",
        "over the whole run; within 2 % is the requirement",
    ),
    "best_validation_accuracy": Column(
        "Best validation accuracy", _percent, "after adaptation, over all rounds"
    ),
    "best_validation_round": Column("… at round", _plain),
    "target": Column("Target", _percent),
    "outcome": Column("Target was", str),
    "best_accuracy": Column("Best accuracy", _percent, "on validation clients"),
    "communication_reduction": Column(
        "FedAvg's traffic / this",
        lambda value: f"{value:.2f}×",
        "above 1 saves communication",
    ),
    "clients": Column("Clients", _plain),
    "mean": Column("Mean", _percent),
    "variance": Column("Variance", _decimals(1), "squared points; low is even"),
    "sd": Column("Standard deviation", _decimals(1), "points"),
    "minimum": Column("Lowest", _percent),
    "p5": Column("5th percentile", _percent, "1 client in 20 is below"),
    "p10": Column("10th percentile", _percent),
    "p25": Column("25th percentile", _percent),
    "p50": Column("Median", _percent),
    "worst_tenth": Column("Worst 10 %", _percent, "mean of the lowest tenth"),
    "best_tenth": Column("Best 10 %", _percent, "mean of the highest tenth"),
    "jain": Column("Jain's index", _decimals(4), "1 is perfectly even"),
    "gini": Column("Gini coefficient", _decimals(4), "0 is perfectly even"),
    "entropy": Column("Entropy", _decimals(4), "nats; at most log(clients)"),
    "kl_to_uniform": Column("KL to uniform", _decimals(4), "nats; 0 is even"),
    "cosine_to_equal": Column("Cosine to equal", _decimals(4), "1 is perfectly even"),
    "share_perfect": Column("All correct", _percent, "clients without a mistake"),
    "share_better": Column("Better after adapting", _percent, "of clients"),
    "share_unchanged": Column("Unchanged", _percent, "of clients"),
    "share_worse": Column("Worse after adapting", _percent, "of clients"),
    "share_worse_than_baseline": Column(
        "Worse off than with plain FedAvg", _percent, "of clients"
    ),
}
