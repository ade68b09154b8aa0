"""Histories and scores small enough to do the sums by hand."""

from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd

from fedmeta.reporting.figures import (
    accuracy_curves,
    accuracy_density,
    adaptation_effect,
    loss_curves,
    overhead_bars,
)
from fedmeta.reporting.tables import overhead_table

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


def all_figures(histories, scores, target=0.5):
    """The five figures of a report."""
    return {
        "accuracy": accuracy_curves(histories, "sample", target),
        "loss": loss_curves(histories, "sample"),
        "density": accuracy_density(scores, "sample"),
        "adaptation": adaptation_effect(scores, "sample"),
        "overhead": overhead_bars(
            overhead_table(histories, target, "sample"), "sample"
        ),
    }


def words_in(figure):
    """Draw the figure; all words in it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " | ".join(texts).replace("\n", " ")
