"""What an encoding learns of training clients, as counts that add up.

A vocabulary or a standardisation takes no record, but counts over them. They are whole
numbers, so that their sums are the same however clients are spread: over one file, or
over nodes each of which tells its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fedmeta.data.federated import FederatedDataset
from fedmeta.data.remote import is_remote
from fedmeta.late import pd

Counts = dict[str | int, int]  # of what, how often or how much
Summary = dict[str, Counts]
Spans = Sequence[tuple[str, int, int]]  # client, first record used, behind the last
Summarise = Callable[[FederatedDataset, Spans], Summary]

AT_ONCE = 1 << 18  # records


def summary_of(
    records: FederatedDataset, clients: pd.DataFrame, summarise: Summarise
) -> Summary:
    """Counts over the used records of some clients, here or on their nodes.

    Args:
        records: of all clients.
        clients: rows of the clients table.
        summarise: what counts; nodes take the same, by the benchmark's name.
    """
    if is_remote(records) and records.ask is not None:
        return records.ask(clients["client_id"].tolist())
    columns = ("client_id", "start", "stop")
    return summarise(records, [*zip(*(clients[c] for c in columns), strict=True)])


def parts(
    records: FederatedDataset, spans: Spans, column: str, at_once: int = AT_ONCE
) -> Iterator[np.ndarray]:
    """Yield a column of the clients' used records, of ``at_once`` or more at a time."""
    waiting: list[np.ndarray] = []
    size = 0
    for client, start, stop in spans:
        waiting.append(records.columns(client)[column][start:stop])
        size += stop - start
        if size >= at_once:
            yield np.concatenate(waiting)
            waiting, size = [], 0
    if waiting:
        yield np.concatenate(waiting)


def added(summaries: Iterable[Summary]) -> Summary:
    """The counts of several as one."""
    total: Summary = {}
    for summary in summaries:
        for name, counts in summary.items():
            own = total.setdefault(name, {})
            for key, count in counts.items():
                own[key] = own.get(key, 0) + count
    return total


def to_json(summary: Summary) -> dict[str, Any]:
    """As JSON has it, whose keys are texts: pairs, by name."""
    return {name: [*counts.items()] for name, counts in summary.items()}


def from_json(told: Mapping[str, Any]) -> Summary:
    """The summary that `to_json` was given.

    Raises:
        ValueError: for anything else.
    """
    made: Summary = {}
    for name, pairs in told.items():
        for key, count in pairs:
            if type(count) is not int or type(key) not in (int, str):
                raise ValueError(f"{name}: {key!r} is counted as {count!r}")
        made[name] = dict(pairs)
    return made
