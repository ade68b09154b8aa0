"""Marks and messages for trainings that diverged."""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pandas as pd

from fedmeta.core.types import Divergence
from fedmeta.pipelines.progress import progress
from fedmeta.reporting.results import nonfinite

log = logging.getLogger(__name__)

RATES = ("lr", "inner_lr", "alpha_init", "learning_rate")
SKIP = "training.nonfinite_updates=skip"


def marked(table: pd.DataFrame, found: Divergence | None) -> pd.DataFrame:
    """The table with the divergence among its attributes, if there is one.

    Args:
        table: a history, up to the last evaluated round, or scores.
        found: where the training diverged.
    """
    if found is not None:
        table = table.copy(deep=False)
        table.attrs = {**table.attrs, "diverged": found._asdict()}
    return table


def scores(
    rows: Iterator[dict[str, Any]],
    what: str,
    name: str,
    origin: Mapping[str, Any],
    found: Divergence | None = None,
) -> pd.DataFrame:
    """Collect rows into a table; empty and marked if the training diverged.

    Args:
        rows: one a client; lazy.
        what: they are, for the log.
        name: of what was trained.
        origin: attributes of the table.
        found: where the training diverged.
    """
    if found is None:
        table = pd.DataFrame(progress(rows, f"{what} {name}"))
        warn_nonfinite(table, name)
    else:  # one is enough for the columns
        table = marked(pd.DataFrame(islice(rows, 1)).iloc[:0], found)
    table.attrs |= origin
    return table


def inherited(found: Divergence) -> Divergence:
    """The divergence of a training that starts from what a diverged one has learned."""
    return found._replace(cause=f"{found.cause} in the training before")


def remedy(options: Mapping[str, Any], found: Divergence) -> str:
    """Likely remedy: rates to lower, by name, or to skip a client."""
    rates = [f"{name} ({_short(value)})" for name, value in _rates(options)]
    lower = f"lower {' or '.join(rates) or 'the rates'}"
    if not found.client:
        return lower
    return f"{lower}, or leave such clients out and count them ({SKIP})"


def warn_nonfinite(table: pd.DataFrame, name: str) -> None:
    """Warn of clients on whom adaptation gives no finite loss.

    Args:
        table: of scores.
        name: of what was trained.
    """
    if words := nonfinite(table):
        log.warning("%s: %s; lower the rate of adaptation", name, words)


def _rates(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _rates(value, f"{prefix}{name}.")
        elif name in RATES:
            yield f"{prefix}{name}", value


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)
