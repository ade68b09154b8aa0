"""Scores, histories and pages of studies, small enough to do the sums by hand."""

from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd
from outcomes import side

from fedmeta.reporting.report import DataNote, render
from fedmeta.reporting.results import Results, Run, tidy


def study_scores(correct, num_query=(10, 10)):
    """Scores of users a, b, c...: by number of epochs, how many each has right."""
    rows = [
        (chr(ord("a") + user), epochs, 5, num_query[user], right, 1.0)
        for epochs, rights in correct.items()
        for user, right in enumerate(rights)
    ]
    names = [
        "client_id",
        "epochs",
        "num_support",
        "num_query",
        "accuracy_sum",
        "loss_sum",
    ]
    return pd.DataFrame(rows, columns=names)


def study_history(after, before=None, norms=None):
    """A row each 10 rounds."""
    after = np.asarray(after, dtype=float)
    table = pd.DataFrame(
        {
            "round": 10 * np.arange(len(after)),
            "train_loss": [np.nan, *np.ones(len(after) - 1)] if len(after) else [],
            "validation_accuracy_before": after / 2 if before is None else before,
            "validation_accuracy_after": after,
        }
    )
    return table if norms is None else table.assign(meta_gradient_norm=norms)


def found(cells, source="sample"):
    """Results of (factors, scores, history) by cell, either of which may be None."""
    runs = {name: Run(*cell) for name, cell in cells.items()}
    for run in runs.values():
        for table in run[1:]:
            if table is not None:
                table.attrs.setdefault("settings", {"training.seed": 0})
    return tidy(runs.items(), source)


def over_seeds(*results):
    """The same cells under seeds 0, 1, 2..."""
    tables = [
        pd.concat([table.assign(seed=seed) for seed, table in enumerate(tables)])
        for tables in zip(*(r[:3] for r in results), strict=True)
    ]
    return Results(*(t.reset_index(drop=True) for t in tables), results[0].source)


def held(report):
    """Of each claim whether the figures are for it; None where they say nothing."""
    return [side(claim) for claim in report.claims]


def html_of(report):
    """The page of a report."""
    return render(report, DataNote("FEMNIST", "sample", False, False, {"tau": 4}, []))


def words_in(figure):
    """Draw the figure; all words in it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " | ".join(texts).replace("\n", " ")
