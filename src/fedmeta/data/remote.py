"""Records that stay where they are: what is known here of those on other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.ids import Ids

NOWHERE = Path("records on nodes")  # in messages, where there would be a file


@dataclass(frozen=True, eq=False)
class RemoteRecords(FederatedDataset):
    """Clients whose records are on nodes: names, sizes, and the shape of a record."""

    shapes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)  # options, as asked for
    blank: bool = False
    # Clients -> counts over their used records, as `fedmeta.data.summaries` has them.
    ask: Callable[[Sequence[str]], dict[str, dict[str | int, int]]] | None = None

    def columns(self, client_id: str) -> dict[str, np.ndarray]:
        """Zeros in the shape of a client's records, where these are `blank`.

        Raises:
            DataError: where they are not: nothing here may read the records.
        """
        if not self.blank:
            raise DataError(
                f"the records of client {client_id!r} stay on its node, and what was"
                " asked for needs them here: an encoding that is learned from records,"
                " or an option such as training.pooled"
            )
        rows = self.num_examples[self.client_ids.row(client_id)]
        return {
            name: np.zeros((rows, *width), dtype)
            for name, (dtype, *width) in self.shapes.items()
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return from_json, (to_json(self),)


def to_json(records: RemoteRecords) -> dict[str, Any]:
    """What is known, as JSON has it."""
    return {
        "client_ids": list(records.client_ids),
        "num_examples": records.num_examples.tolist(),
        "metadata": dict(records.metadata),
        "checksum": records.checksum,
        "shapes": dict(records.shapes),
        "selection": dict(records.selection),
    }


def from_json(known: Mapping[str, Any]) -> RemoteRecords:
    """The records that `to_json` was given."""
    return RemoteRecords(
        **{
            **known,
            "client_ids": Ids(known["client_ids"]),
            "num_examples": np.array(known["num_examples"], np.int64),
        },
        path=NOWHERE,
        _rows=np.empty(0, np.int64),
        _starts=[],
        _batches=[],
    )


def of_same_shape(records: FederatedDataset) -> FederatedDataset:
    """Records to count operations on: these, or blank ones where these are remote."""
    return replace(records, blank=True) if is_remote(records) else records


def is_remote(records: FederatedDataset) -> TypeGuard[RemoteRecords]:
    """Whether records are on nodes, and not here."""
    return isinstance(records, RemoteRecords)
