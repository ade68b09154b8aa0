"""One's own table as packed clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedmeta.benchmarks.table.clients import read_clients
from fedmeta.benchmarks.table.parts import SUFFIXES, Columns, open_table, title
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import elsewhere, of_one_kind, raw_files


def find_raw(folder: str | Path) -> list[Path]:
    """One file, or the parts of a table in a folder, by name.

    Raises:
        DataError: when there are none, or parts of several kinds.
    """
    folder = Path(folder)
    if folder.is_file() and folder.suffix in SUFFIXES:
        return [folder]
    # Hugging Face's library leaves caches beside its data.
    parts = [p for p in raw_files(folder, *SUFFIXES) if not p.name.startswith("cache-")]
    what = "is none of" if folder.is_file() else "no file or folder with"
    return of_one_kind(
        folder,
        [[part for part in parts if part.suffix == suffix] for suffix in SUFFIXES],
        f"{what} {', '.join(f'*{s}' for s in SUFFIXES)}{elsewhere(folder, *SUFFIXES)};"
        " name a table, or a folder of its parts, as raw.folder",
    )


def parse(
    paths: Sequence[str | Path],
    *,
    client: str,
    label: str,
    time: str | None = None,
    features: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
    categorical: Sequence[str] = (),
    name: str | None = None,
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Read a table; a client's rows may be scattered over all files.

    Args:
        paths: files of the same columns.
        client: column of the client's name,
        label: of the class, of any type,
        time: of when the record was made: a client's records are put in this order.
        features: columns that a model sees; None: all others.
        leave_out: but these.
        categorical: columns whose numbers are names, such as postal codes.
        name: what the data are called in reports; None: as the file or folder.

    Returns:
        As `read_clients`; metadata have `benchmark`, `synthetic`, the names of the
        client's and the label's columns as `roles` (json) and, where the table is real,
        `name` too.

    Raises:
        DataError: for anything that `open_table` and `read_clients` refuse.
    """
    files = [Path(path) for path in paths]
    columns = Columns(client, label, time, features, leave_out, categorical)
    table = open_table(files, columns)
    clients, metadata = read_clients(table, columns)
    metadata |= {
        "benchmark": "table",
        "roles": json.dumps([client, label]),
        "synthetic": "true" if table.synthetic else "false",
        "source": f"column {label!r} by {client!r}",
    }
    if not table.synthetic:
        metadata["name"] = name or title(files)
    return clients, metadata
