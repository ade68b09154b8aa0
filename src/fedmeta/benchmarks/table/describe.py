"""What a table holds, and the parameters file that a run of it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fedmeta.benchmarks.table.parse import find_raw, parse
from fedmeta.benchmarks.table.parts import column_names
from fedmeta.data.errors import DataError
from fedmeta.data.files import whole_file
from fedmeta.data.names import listed


def check_roles(
    path: Path, client: str | None, label: str | None, **others: Any
) -> None:
    """Refuse to go on without the two columns that nobody can guess.

    Raises:
        DataError: with the columns that there are.
    """
    given = {"--client": client, "--label": label}
    if missing := [option for option, name in given.items() if name is None]:
        raise DataError(
            f"{path}: its columns are {listed(column_names(find_raw(path)[0]))}; say"
            f" whose a record is and what to predict: give {' and '.join(missing)}"
        )


def describe(path: Path, **columns: Any) -> Iterator[str]:
    """Say, in a line each, which clients, classes and features a table has.

    Args:
        path: of a file or a folder of parts.
        columns: options of `parse`.

    Raises:
        DataError: for anything that a run would refuse.
    """
    clients, metadata = parse(find_raw(path), **columns)
    classes = json.loads(metadata["classes"])
    sizes: dict[str, int] = {}
    counts = np.zeros(len(classes), np.int64)
    for client_id, own in clients:
        sizes[client_id] = len(own["label"])
        counts += np.bincount(own["label"], minlength=len(classes))
    least, most = min(sizes, key=sizes.__getitem__), max(sizes.values())
    yield f"{counts.sum():,} records of {len(sizes):,} clients"
    yield f"records a client: {sizes[least]:,} (client {least!r}) to {most:,}"
    told = [f"{name} ({n:,})" for name, n in zip(classes[:10], counts, strict=False)]
    more = f" and {len(classes) - 10:,} more" if len(classes) > 10 else ""
    yield f"classes: {', '.join(told)}{more}"
    yield f"numbers: {listed(json.loads(metadata['numbers'])) or 'none'}"
    known = json.loads(metadata["categories"])
    told = [f"{name!r} of {len(values):,} values" for name, values in known.items()]
    yield f"categories: {', '.join(told) or 'none'}"
    ordered = metadata["ordered"] == "true"
    yield f"records are {'in order of time' if ordered else 'in no order'}"


def write_environment(
    conf: Path, path: Path, found: Sequence[str] = (), **columns: Any
) -> str:
    """Write the configuration of runs of a table; return its environment.

    Args:
        conf: folder of the project's environments.
        path: of the table.
        found: lines on what it holds, which become comments.
        columns: options of `parse`.

    Raises:
        DataError: where there is such an environment.
    """
    name = re.sub(r"\W+", "_", path.stem).strip("_").lower() or "table"
    folder = conf / name
    if folder.exists():
        raise DataError(
            f"{folder}: there is such an environment; edit its files, or remove it to"
            " have it written again"
        )
    raw = {"folder": str(path), **{k: v for k, v in columns.items() if v}}
    about = [f"{path.name}: {found[0]}", *found[1:]] if found else []
    other = "Other options: parameters_{table,defaults}.yml of conf/base."
    head = "".join(f"# {line}\n" for line in [*about, other])
    for file, content in (
        ("globals.yml", {"store": name}),
        ("parameters_table.yml", {"table": {"raw": raw}}),
    ):
        with whole_file(folder / file) as out:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            out.write(((head if "table" in content else "") + text).encode())
    return name
