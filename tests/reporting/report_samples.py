"""Histories and scores small enough to do the sums by hand."""

from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd

from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.reporting.results import Run, tidy
from fedmeta.reporting.tables import targets_table
from fedmeta.studies.comparison import comparison

KEYS = {entry.label: name for name, entry in ALGORITHMS.items()}

HISTORY_COLUMNS = ["round", "train_loss", "train_accuracy"]
HISTORY_COLUMNS += [
    f"validation_{name}_{when}"
    for name in ("loss", "accuracy", "macro_accuracy")
    for when in ("before", "after")
]
COST_COLUMNS = ["bytes_down", "bytes_up", "flops", "flops_counted", "client_rounds"]


def make_history(after, before=None, megabytes=10, flops=1000):
    """A row each 10 rounds; costs are ``megabytes`` each way and ``flops`` a round."""
    after = np.asarray(after, dtype=float)
    before = after if before is None else np.asarray(before, dtype=float)
    rounds = 10 * np.arange(len(after))
    unseen = np.where(rounds > 0, 1.0, np.nan)
    return pd.DataFrame(
        {
            "round": rounds,
            "train_loss": unseen * (2 - after),
            "train_accuracy": unseen * after,
            "validation_loss_before": 4 - before,
            "validation_loss_after": 4 - after,
            "validation_accuracy_before": before,
            "validation_accuracy_after": after,
            "validation_macro_accuracy_before": before,
            "validation_macro_accuracy_after": after,
            "bytes_down": rounds * megabytes * 1_000_000,
            "bytes_up": rounds * megabytes * 1_000_000,
            "flops": rounds * flops,
            "flops_counted": rounds * flops * 1.01,
            "client_rounds": rounds * 4,
        }
    )


def make_scores(num_query, correct_before, correct_after):
    """A row a client, named a, b, c...; losses are the numbers of mistakes."""
    num_query = np.asarray(num_query)
    return pd.DataFrame(
        {
            "client_id": [chr(ord("a") + i) for i in range(len(num_query))],
            "num_support": np.ones_like(num_query),
            "num_query": num_query,
            "accuracy_sum_before": correct_before,
            "accuracy_sum_after": correct_after,
            "loss_sum_before": num_query - np.asarray(correct_before),
            "loss_sum_after": num_query - np.asarray(correct_after),
        }
    )


def make_validation(history):
    """A row a client and evaluation: two of ten query records, as good as the history.

    As far as whole records can be: the first client is better than the second by two.
    """
    rows = [
        {
            "round": row.round,
            "client_id": client,
            "num_query": 10,
            "accuracy_sum_after": 10 * row.validation_accuracy_after + better,
        }
        for row in history.itertuples()
        for client, better in (("a", 1), ("b", -1))
    ]
    columns = ["round", "client_id", "num_query", "accuracy_sum_after"]
    return pd.DataFrame(rows, columns=columns)


def found(scores, histories, source="sample"):
    """Results of algorithms by label."""
    factors = {"support_fraction": 0.2, "seed": 0}
    labels = dict.fromkeys([*scores, *histories])
    runs = {
        KEYS.get(k, k): Run(factors, scores.get(k), histories.get(k)) for k in labels
    }
    return tidy(runs.items(), source)


def validated(histories):
    """The validation clients of `make_validation`, by algorithm."""
    return {KEYS.get(k, k): make_validation(h) for k, h in histories.items()}


def make_targets(histories, lowest=0.5):
    """What `targets_table` makes of the validation clients of `make_validation`."""
    return targets_table(found({}, histories), validated(histories), lowest)


def make_report(histories, scores, target=0.5, paper=None, source="sample"):
    """The report of a comparison."""
    kept = [label for label in scores if label in histories]
    scores, histories = ({k: t[k] for k in kept} for t in (scores, histories))
    results = found(scores, histories, source)
    return comparison(results, validated(histories), target, paper)


def all_figures(histories, scores, target=0.5):
    """The six figures of a report."""
    return make_report(histories, scores, target).figures


def words_in(figure):
    """Draw the figure; all words in it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " | ".join(texts).replace("\n", " ")
