"""LEAF's JSON shards, read one client at a time.

A shard is `{"users": [...], "num_samples": [...], "user_data": {id: {"x": [...],
"y": [...]}}}` (Caldas et al., LEAF, 2018) and may be larger than the memory, which is
bounded by the largest client: see `fedmeta.data.json_window`.

LEAF's own split by sample puts a part of each client's records into files of the names
``..._train_9.json`` and ``..._test_9.json``, in folders ``train`` and ``test``: the two
parts of a client are put together again, its records for training first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from fedmeta.data.errors import DataError
from fedmeta.data.files import elsewhere, raw_files
from fedmeta.data.json_window import JsonWindow
from fedmeta.data.names import alike

log = logging.getLogger(__name__)

PARTS = ("train", "test")  # of LEAF's split
_PART = re.compile(rf"_({'|'.join(PARTS)})(?:_\d+)?$")


class LeafClient(NamedTuple):
    """One client as LEAF writes it."""

    client_id: str
    x: list[Any]  # [n] records, their form is the benchmark's
    y: list[Any]  # [n] labels
    path: Path | str  # the shard, or both, for messages

    def error(self, problem: str) -> DataError:
        """An error that names this client and its file."""
        return DataError(f"{self.path}: client {self.client_id!r}: {problem}")

    def labels(self, classes: int, expected: str) -> np.ndarray:
        """uint8 [n] whole numbers below ``classes``; ``expected`` is for messages.

        Raises:
            DataError: for any other label.
        """
        labels = [whole_number(label) for label in self.y]
        for record, label in enumerate(labels):
            if label is None or not 0 <= label < classes:
                raise self.error(
                    f"record {record} has the label {as_json(self.y[record])}; expected"
                    f" {expected}: make the file again with LEAF"
                )
        return np.array(labels, dtype=np.uint8)


def whole_number(value: Any) -> int | None:
    """A whole number that JSON has as 3, 3.0 or "3"; None for anything else."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if value.isascii() and value.isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == int(value) else None


def as_json(value: Any) -> str:
    """A value as the file has it, shortened: for messages."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:37]}..."


def leaf_shards(folder: str | Path) -> list[Path]:
    """LEAF's files in a folder, by name; else those of its folders train and test."""
    parts = [raw_files(Path(folder, part), ".json") for part in PARTS]
    here = raw_files(folder, ".json")
    return here or (sum(parts, []) if all(parts) else [])


def leaf_files(folder: str | Path, remedy: str) -> list[Path]:
    """`leaf_shards`.

    Raises:
        DataError: when there are none; `remedy` says where they come from.
    """
    shards = leaf_shards(folder)
    if not shards:
        raise DataError(
            f"{folder}: no *.json files of LEAF here{elsewhere(folder, '.json')}; "
            f"{remedy}"
        )
    return shards


def read_leaf_header(shard: Path) -> dict[str, Any]:
    """The members of a shard other than "user_data".

    Cheap for LEAF's own order, where they come first; otherwise the clients are
    passed over, not parsed.
    """
    header = {}
    with open(shard, "rb") as file:
        window = JsonWindow(shard, file)
        for key in window.members():
            if key != "user_data":
                header[key] = window.parse(f"{key!r}")
            elif _is_leaf_order(header):
                break
            else:
                for client_id in window.members():
                    window.skip(f"client {client_id!r}")
    return header


def leaf_metadata(shards: Sequence[Path], benchmark: str) -> dict[str, str]:
    """What the shards say of themselves: `benchmark`, `synthetic` and `source`.

    Raises:
        DataError: when some are synthetic and some are not.
    """
    headers = [read_leaf_header(shard) for shard in shards]
    notes = [header.get("synthetic") for header in headers]
    drawn = [shard for shard, note in zip(shards, notes, strict=True) if note]
    real = [shard for shard, note in zip(shards, notes, strict=True) if not note]
    if drawn and real:
        raise DataError(
            f"{drawn[0]}: is synthetic but {real[0]} is not; keep synthetic and real "
            "files in different folders"
        )
    return {
        "benchmark": benchmark,
        "synthetic": "true" if drawn else "false",
        "source": str(notes[0] or headers[0].get("source") or "LEAF JSON"),
    }


def sample_share(
    rows: np.ndarray, counts: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """LEAF's sampling of a file: clients at random up to a share of its records.

    Args:
        rows: the file's clients.
        counts: records of each client, by row.
        fraction: the share, in (0, 1].
        rng: of the order.

    Returns:
        The clients in random order; how many records are taken of each, from the
        first: all of the earlier ones, some of one, 0 or fewer of the later ones.
    """
    order = rng.permutation(rows)
    total = int(fraction * counts[order].sum())
    before = np.cumsum(counts[order]) - counts[order]
    return order, np.minimum(counts[order], total - before)


def read_leaf(shards: Sequence[Path]) -> Iterator[LeafClient]:
    """Stream the clients of all shards, in the order of the files.

    A client that LEAF's split has put into a train and a test file comes once, with
    its records of the first before those of the second.

    Raises:
        DataError: for JSON that is malformed or cut short, a missing key, a client
            in two places, or counts that disagree.
    """
    first = [shard for shard in shards if _part(shard) != "test"]
    second = [shard for shard in shards if _part(shard) == "test"]
    if not (first and second):
        if all(_PART.search(shard.stem) for shard in shards):
            log.warning(
                "%s: only the %s part of LEAF's split is here; each client's other"
                " records are in files of the other part: put these beside it, or take"
                " all_data",
                shards[0].parent,
                _part(shards[0]),
            )
        first, second = list(shards), []
    later = dict(place for shard in second for place in _places(shard))
    seen: dict[str, Path] = {}
    for shard in first:
        for client in _read_shard(shard, seen):
            place = later.get(client.client_id)
            yield client if place is None else _joined(client, *place)
    again: dict[str, Path] = {}
    for shard in second:
        for client in _read_shard(shard, again):
            if client.client_id not in seen:
                yield client
    if second:
        log.info(
            "LEAF's train and test parts of %d clients are put together",
            len(seen.keys() & again.keys()),
        )
    for note in alike(seen.keys() | again.keys(), "clients"):
        log.warning("%s", note)


def _part(shard: Path) -> str:
    """The part of LEAF's split that a file is, by its name or else its folder's."""
    named = _PART.search(shard.stem)
    return named[1] if named else shard.parent.name


def _places(shard: Path) -> Iterator[tuple[str, tuple[Path, int]]]:
    """Yield the clients of a shard, each with the offset of its data."""
    with open(shard, "rb") as file:
        window = JsonWindow(shard, file)
        for key in window.members():
            if key != "user_data":
                window.skip(f"{key!r}")
                continue
            for client_id in window.members():
                yield client_id, (shard, window.position)
                window.skip(f"client {client_id!r}")


def _joined(client: LeafClient, shard: Path, place: int) -> LeafClient:
    """The client with its records in another file appended."""
    with open(shard, "rb") as file:
        other = _client(JsonWindow(shard, file, place), client.client_id)
    files = f"{client.path} and {shard.name}"
    return LeafClient(client.client_id, client.x + other.x, client.y + other.y, files)


def _read_shard(shard: Path, seen: dict[str, Path]) -> Iterator[LeafClient]:
    """The clients of a shard, checked; they are added to ``seen``."""
    rest: dict[str, object] = {}
    counts: dict[str, int] | None = None
    with open(shard, "rb") as file:
        window = JsonWindow(shard, file)
        for key in window.members():
            if key != "user_data":
                if counts is not None and key == "synthetic" and _is_leaf_order(rest):
                    raise DataError(
                        f'{shard}: "synthetic" comes after "user_data", too late to '
                        "label the data; write it first"
                    )
                rest[key] = window.parse(f"{key!r}")
                continue
            counts = {}
            for client_id in window.members():
                if client_id in seen:
                    raise DataError(
                        f"{shard}: client {client_id!r} is also in {seen[client_id]};"
                        " expected a client in one place: if both hold the same"
                        " records, move one of the files aside, if not, give one of"
                        " the clients another name"
                    )
                client = _client(window, client_id)
                counts[client_id] = len(client.y)
                seen[client_id] = shard
                yield client
    _check_head(shard, rest, counts)


def _is_leaf_order(members: dict[str, Any]) -> bool:
    """Whether these members, met before "user_data", are all that LEAF writes."""
    return {"users", "num_samples"} <= members.keys()


def _client(window: JsonWindow, client_id: str) -> LeafClient:
    value = window.parse(f"client {client_id!r}")
    if not isinstance(value, dict) or not {"x", "y"} <= value.keys():
        raise DataError(
            f'{window.path}: client {client_id!r}: expected an object with "x" and '
            '"y"; make the file again with LEAF'
        )
    client = LeafClient(client_id, value["x"], value["y"], window.path)
    if not isinstance(client.x, list) or not isinstance(client.y, list):
        raise client.error('"x" and "y" must be lists; make the file again with LEAF')
    if len(client.x) != len(client.y):
        raise client.error(
            f"{len(client.x)} records in x but {len(client.y)} labels in y; expected "
            "one each: make the file again with LEAF"
        )
    return client


def _check_head(
    path: Path, rest: dict[str, Any], counts: dict[str, int] | None
) -> None:
    """The head of a shard must agree with what it holds."""
    again = "the file is not as LEAF wrote it: make it again"
    missing = [key for key in ("users", "num_samples") if key not in rest]
    if counts is None:
        missing.append("user_data")
    if counts is None or missing:
        raise DataError(
            f'{path}: no key {", ".join(missing)}; a LEAF file has "users", '
            '"num_samples" and "user_data": is this one?'
        )
    for key in ("users", "num_samples"):
        if not isinstance(rest[key], list):
            raise DataError(
                f'{path}: "{key}" is {as_json(rest[key])}; expected a list with an '
                f"entry for each client: {again}"
            )
    users = [_name(path, user, counts) for user in rest["users"]]
    sizes = rest["num_samples"]
    if len(users) != len(sizes):
        raise DataError(
            f"{path}: {len(users)} users but {len(sizes)} num_samples; {again}"
        )
    if set(users) != counts.keys():
        client_id = min(set(users) ^ counts.keys())
        has, lacks = ("users", "user_data")[:: 1 if client_id in users else -1]
        raise DataError(
            f'{path}: client {client_id!r} is in "{has}", not in "{lacks}"; {again}'
        )
    if len(users) != len(counts):
        twice = next(user for user in users if users.count(user) > 1)
        raise DataError(f'{path}: client {twice!r} is twice in "users"; {again}')
    for client_id, size in zip(users, sizes, strict=True):
        if counts[client_id] != whole_number(size):
            raise DataError(
                f"{path}: client {client_id!r}: num_samples says {as_json(size)}, "
                f"user_data has {counts[client_id]}; {again}"
            )


def _name(path: Path, user: object, known: Container[str]) -> str:
    """A client as "user_data" has it: a key of JSON is a text where a user may not be.

    Raises:
        DataError: for what is neither a text nor a number.
    """
    if isinstance(user, str):
        return user
    if isinstance(user, bool) or not isinstance(user, int | float):
        raise DataError(
            f'{path}: "users" has {as_json(user)}; expected the names of clients: make'
            " the file again"
        )
    number = whole_number(user)
    return str(user) if number is None or str(user) in known else str(number)
