"""Scores, histories and pages of studies, small enough to do the sums by hand."""

from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd

from fedmeta.reporting.study_page import StudyPage, render_study


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


def study_html(study, results):
    """The page that a study's five functions make."""
    return render_study(
        StudyPage(
            benchmark="FEMNIST",
            source=results.source,
            synthetic=False,
            stands_in=False,
            figures=study.figures(results),
            parameters={"tau": 4},
            notes=[],
            heading=study.HEADING,
            summary=study.summary(results),
            claims=study.claims(results),
            sections=study.sections(results),
        )
    )


def words_in(figure):
    """Draw the figure; all words in it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " | ".join(texts).replace("\n", " ")
