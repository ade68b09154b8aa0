"""Rows of a table, or a user's log -> predictions for what has no label yet."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fedmeta.benchmarks.recommendation.upcoming import (
    ContextValue,
    Moment,
    read_upcoming,
)
from fedmeta.data.errors import DataError
from fedmeta.data.user_records import UserRecords, check_columns, is_labelled, text_of
from fedmeta.serving.learned import Personaliser

UNCALIBRATED = (
    "Scores are the softmax of the adapted model: they rank, and are not calibrated"
    " probabilities."
)
PREDICTIONS = ["user", "row", "label", "score"]


def personalise(
    personaliser: Personaliser, table: pd.DataFrame, top: int = 1
) -> pd.DataFrame:
    """Adapt a model to each user's labelled rows and predict the others.

    Args:
        personaliser: from `load_run`.
        table: a row a record, with the columns of `personaliser.form`: a user, a label
            (empty or null: to be predicted) and what a record of the benchmark has.
            Without the user's column all rows are one user's.
        top: how many labels a row; fewer where the user's model knows fewer.

    Returns:
        For each row without a label, the best label first: `user`, `row` (its position
        in the table, from 0), `label` and `score`, the softmax of the adapted model,
        which is not calibrated. What was done to the records is in
        ``attrs["notes"]``.

    Raises:
        DataError: for a table, a row or a label that cannot be used; names user and
            row.
    """
    _check_top(top)
    user_column, label_column, *_ = personaliser.form.columns(personaliser.metadata)
    table = _completed(table, personaliser)
    found, notes = [], []
    for user, rows in table.groupby(user_column, sort=False):
        to_come = rows.index[~is_labelled(rows[label_column])]
        if not len(to_come):
            continue
        try:
            if len(to_come) == len(rows):
                raise DataError(
                    f"none of {len(rows)} rows has a label ({label_column}); expected"
                    " one or more to learn from"
                )
            records = personaliser.form.read(
                rows, personaliser.codebook, personaliser.metadata
            )
            notes += [f"user {user}: {note}" for note in records.notes]
            best = list(ranked(personaliser, records, top))
        except DataError as error:
            raise DataError(f"user {user!r}: {error}") from None
        for row, labels in zip(to_come, best, strict=True):
            found += [(user, int(row), label, score) for label, score in labels]
    if not found:
        raise DataError(
            "every row has a label; expected one or more without, to be predicted"
        )
    predictions = pd.DataFrame(found, columns=PREDICTIONS)
    predictions.attrs["notes"] = notes
    return predictions


def recommend(
    personaliser: Personaliser,
    log: str | Path | pd.DataFrame,
    *,
    top: int = 4,
    at: Moment = None,
    context: Mapping[str, ContextValue] | None = None,
) -> pd.DataFrame:
    """Adapt a model of a usage log to one user's own log and rank what comes next.

    Args:
        personaliser: of a run on a usage log, from `load_run`.
        log: a file of the form that the run's raw files have, or a table with their
            columns.
        top: how many; fewer where the user has not used so many.
        at: when, written as the times of the log; None: now, by the log's clock.
        context: values of context columns at that time; those left out are missing.

    Returns:
        `score` and `service`, of those that the user has used, the best first; the
        scores of all of them sum to 1 and are not calibrated. What was done to the log
        is in ``attrs["notes"]``.

    Raises:
        DataError: for a log, a time or context that cannot be used.
    """
    _check_top(top)
    records = read_upcoming(log, personaliser.metadata, at, context)
    try:
        (best,) = ranked(personaliser, records, top)
    except DataError as error:
        place = "the table" if isinstance(log, pd.DataFrame) else log
        raise DataError(f"{place}: {error}") from None
    found = pd.DataFrame(best, columns=["service", "score"])[["score", "service"]]
    found.attrs["notes"] = records.notes
    return found


def ranked(
    personaliser: Personaliser, records: UserRecords, top: int
) -> Iterator[list[tuple[str, float]]]:
    """For each record without a label, the best labels with their scores."""
    for scores in personaliser.scores(records):
        best = np.argsort(-scores, kind="stable")[:top]
        yield [(records.classes[place], float(scores[place])) for place in best]


def _completed(table: pd.DataFrame, personaliser: Personaliser) -> pd.DataFrame:
    """The table with rows by position and users as texts; its columns are checked."""
    columns = personaliser.form.columns(personaliser.metadata)
    user = columns[0]
    table = table.reset_index(drop=True)
    if user not in table:
        table[user] = "-"
    check_columns(table, columns)
    if not len(table):
        raise DataError("the table has no rows")
    table[user] = [text_of(value) for value in table[user]]
    nameless = table.index[table[user] == ""]
    if len(nameless):
        raise DataError(f"row {nameless[0]}: no {user}; expected a name in every row")
    return table


def _check_top(top: int) -> None:
    if top < 1:
        raise DataError(f"top {top}: expected 1 or more")
