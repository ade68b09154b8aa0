"""Headings, meanings and units of the tables' columns, for people."""

import re
from collections.abc import Callable, Sequence
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
HEADLINE += ["difference", "rounds", "bytes_down", "bytes_up", "flops", "epsilon"]


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


def headline_columns(
    accuracy: pd.DataFrame, names: Sequence[str] = HEADLINE
) -> list[str]:
    """Columns to show first, without those that are wholly missing.

    Before the paper's stand metrics beside accuracy and loss, after adaptation.
    """
    further = [
        name
        for name in accuracy
        if name not in KNOWN and METRIC.fullmatch(name) and name.endswith("_after")
        if not name.startswith("macro_")
    ]
    place = names.index("paper")
    names = [*names[:place], *further, *names[place:]]
    return [n for n in names if n in accuracy and not accuracy[n].isna().all()]


def scale(metric: str) -> int:
    """By what a metric's mean is multiplied to be shown: 100 for shares of records."""
    return 100 if SHARES.fullmatch(metric) else 1


def column_of(name: str, *, plain: bool = False) -> Column:
    """How to show a column, as `TABLE` says; what is not there is taken as it is.

    Args:
        name: of the column.
        plain: whether only "training" is looked up.
    """
    for pattern, title, text, *rest in ROWS[:1] if plain else ROWS:
        if match := re.fullmatch(pattern, str(name)):
            how = FORMATS.get(text) or text.format
            return Column(title.format(*match.groups()), how, *rest)
    found = METRIC.fullmatch(str(name))
    if plain or not found:
        return Column(str(name).replace("_", " "), _plain)
    macro, metric, when = found.groups(default="")
    share = SHARES.fullmatch(metric)
    title = f"Top-{share[1]}" if share else metric.replace("_", " ").capitalize()
    of = f" whose class is among the {share[1]} highest" if share else ""
    meaning = f"{'share' if share else 'mean'} of query records{of}"
    meaning += ", every client counts the same" if macro else ""
    title = f"Mean client {title.lower()}" if macro else title
    return Column(
        f"{title} {when}", FORMATS["%"] if share else "{:.3f}".format, meaning
    )


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


# How values are written, beside format strings.
FORMATS: dict[str, Callable[[Any], str]] = {
    "plain": _plain,
    "text": str,
    "%": "{:.1f} %".format,
    "points": lambda value: f"{round(value, 1) + 0.0:+.1f}",  # never -0.0
    "bytes": bytes_text,
    "FLOP": flops_text,
    "steps": lambda count: f"{count:,}" if count else MISSING,
    "share": percent,
}


# Name, a regular expression | title, of its groups | how it is written | meaning |
# where it is missing.
TABLE = """
training | Training | text
stage([12])_0 | Stage\N{NO-BREAK SPACE}{}, initial | {:.1f}
stage([12])_1 | Stage\N{NO-BREAK SPACE}{}, after 1 epoch | {:.1f}
stage([12])_([0-9]+) | Stage\N{NO-BREAK SPACE}{}, after {} epochs | {:.1f}
steps_1 | 1 step | {:.1f}
steps_([0-9]+) | {} steps | {:.1f}
(?:paper_)?top([0-9]+)_[0-9.]+ | Top-{} | {:.2f}
mean_top([0-9]+)_[0-9.]+ | Mean Top-{} | {:.2f}
p10_top1_[0-9.]+ | 10th percentile | {:.2f}
beats_mru_[0-9.]+ | Beats MRU | {:.0f} %
algorithm | Algorithm | text
setting | Users | text
method | Method | text
parameters | Parameters | plain
steps | Steps | steps
support_fraction | Support | share
question | What the paper leaves open | text
answer | Read as | text
before | Before | %
after | After | %
against_taken | – the one taken | {:+.1f}
minus_paper | – the paper | {:+.1f}
recipe | Fine-tuned by | text
points_gained | Gain | points
papers_gain | The paper's gain | points
epochs | Epochs | {:,}
accuracy | Accuracy | %
variant | E | text
evaluations | Evaluated rounds | {:.0f}
initial | Initial accuracy | {:.2f}
personalised | Personalised accuracy | {:.2f}
tau | τ | text
kinds | Kinds of users | text
pairs | Pairs | {:,}
label_tv | Mean total variation of labels | {:.3f}
feature_w1 | Mean distance of features | {:.3f}
paper_fedavg_update | Paper, MNIST: FedAvg + update | {:.2f}
paper_fo | Paper, MNIST: FO | {:.2f}
paper_hf | Paper, MNIST: HF | {:.2f}
nu_train | ν | text
gradient | Meta-gradient | text
meta_loss | Final meta-loss | {:.3f}
noise | z | {:g}
compression | Compression | text
final | Final accuracy | %
best | Best accuracy | %
round_reaching | Reaches ν = 1's final at round | {:,}
flops_reaching | … after computing | FLOP
test_clients | Test clients | plain | never seen in training
test_records | Test records | plain | the test clients' query records
micro_before | Accuracy before | % | share of all query records, as trained
micro_after | Accuracy after | % | once adapted to each client's support records
gain | Over FedAvg | points | accuracy after, in points
macro_before | Mean client accuracy before | % | every client counts the same
macro_after | Mean client accuracy after | % | every client counts the same
micro_before_interval | Before, 95 % interval | text | by bootstrap
micro_after_interval | After, 95 % interval | text | by bootstrap
macro_before_interval | Mean client before, 95 % interval | text | by bootstrap
macro_after_interval | Mean client after, 95 % interval | text | by bootstrap
interval | 95 % | text
loss_before | Loss before | {:.3f} | nats a query record | not finite
loss_after | Loss after | {:.3f} | nats a query record | not finite
paper | Paper | % | published accuracy after adaptation
difference | Ours – paper | points | points
rounds | Rounds | plain
client_rounds | Client updates | plain | clients summed over rounds
bytes_down | Received | bytes | by all clients from the server
bytes_up | Sent | bytes | by all clients to the server
bytes_total | Traffic | bytes | received and sent, all clients
flops | Compute | FLOP | all clients, by formula
epsilon | ε | {:.2f} | differential privacy of each training client
delta | δ of ε | {:.1e}
flops_counted | Compute, counted | FLOP | by an operation counter
flops_difference | Counted – formula | {:+.2f} % | whole run; at most 2 % is required
best_validation_accuracy | Best validation accuracy | % | adapted, over all rounds
best_validation_round | … at round | plain
target | Target | %
outcome | Target was | text
best_accuracy | Best accuracy | % | on validation clients
communication_reduction | FedAvg's traffic / this | {:.2f}× | above 1 saves traffic
clients | Clients | plain
mean | Mean | %
variance | Variance | {:.1f} | squared points; low is even
sd | Standard deviation | {:.1f} | points
minimum | Lowest | %
p5 | 5th percentile | % | 1 client in 20 is below
p10 | 10th percentile | %
p25 | 25th percentile | %
p50 | Median | %
worst_tenth | Worst 10 % | % | mean of the lowest tenth
best_tenth | Best 10 % | % | mean of the highest tenth
jain | Jain's index | {:.4f} | 1 is perfectly even
gini | Gini coefficient | {:.4f} | 0 is perfectly even
entropy | Entropy | {:.4f} | nats; at most log(clients)
kl_to_uniform | KL to uniform | {:.4f} | nats; 0 is even
cosine_to_equal | Cosine to equal | {:.4f} | 1 is perfectly even
share_perfect | All correct | % | clients without a mistake
share_better | Better after adapting | % | of clients
share_unchanged | Unchanged | % | of clients
share_worse | Worse after adapting | % | of clients
share_worse_than_baseline | Worse off than with plain FedAvg | % | of clients
"""
ROWS = [line.split(" | ") for line in TABLE.strip().splitlines()]
KNOWN = {name for name, *_ in ROWS}
