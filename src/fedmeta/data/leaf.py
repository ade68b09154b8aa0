"""LEAF's JSON shards, read one client at a time.

A shard is `{"users": [...], "num_samples": [...], "user_data": {id: {"x": [...],
"y": [...]}}}` (Caldas et al., LEAF, 2018) and may be larger than the memory. A
window slides over its bytes and cuts out one value at a time, by a search that stops
at quotes and brackets only; orjson then parses that value. So memory is bounded by
the largest client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import orjson

from fedmeta.data.errors import DataError

BLOCK = 4 << 20  # bytes read at a time
_BRACKETS = {b"{": b"}", b"[": b"]"}
# Possessive quantifiers: an unfinished string must not take quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb'[^,\]}\s"]*')
_NOT_A_NUMBER = re.compile(r"-?(?:NaN|Infinity)")


class LeafClient(NamedTuple):
    """One client as LEAF writes it."""

    client_id: str
    x: list  # [n] records, their form is the benchmark's
    y: list  # [n] labels
    path: Path  # the shard, for messages

    def error(self, problem: str) -> DataError:
        """An error that names this client and its file."""
        return DataError(f"{self.path}: client {self.client_id!r}: {problem}")


def leaf_files(folder: str | Path, remedy: str) -> list[Path]:
    """The shards of a folder, by name.

    Raises:
        DataError: when there are none; `remedy` says where they come from.
    """
    shards = sorted(Path(folder).glob("*.json"))
    if not shards:
        raise DataError(f"{folder}: no *.json files of LEAF here; {remedy}")
    return shards


def read_leaf_header(shard: Path) -> dict:
    """The members of a shard other than "user_data".

    Cheap for LEAF's own order, where they come first; otherwise the clients are
    passed over, not parsed.
    """
    header = {}
    with open(shard, "rb") as file:
        window = _Window(shard, file)
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
        "source": str(notes[0] or headers[0].get("source", "LEAF JSON")),
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

    Raises:
        DataError: for JSON that is malformed or cut short, a missing key, a client
            in two places, or counts that disagree.
    """
    seen: dict[str, Path] = {}
    for shard in shards:
        with open(shard, "rb") as file:
            yield from _read_shard(_Window(shard, file), seen)


def _read_shard(window: _Window, seen: dict[str, Path]) -> Iterator[LeafClient]:
    rest: dict[str, object] = {}
    counts: dict[str, int] | None = None
    for key in window.members():
        if key != "user_data":
            if counts is not None and key == "synthetic" and _is_leaf_order(rest):
                raise DataError(
                    f'{window.path}: "synthetic" comes after "user_data", too late to '
                    "label the data; write it first"
                )
            rest[key] = window.parse(f"{key!r}")
            continue
        counts = {}
        for client_id in window.members():
            client = _client(window, client_id, seen)
            counts[client_id] = len(client.y)
            seen[client_id] = window.path
            yield client
    _check_counts(window.path, rest, counts)


def _is_leaf_order(members: dict) -> bool:
    """Whether these members, met before "user_data", are all that LEAF writes."""
    return {"users", "num_samples"} <= members.keys()


def _client(window: _Window, client_id: str, seen: dict[str, Path]) -> LeafClient:
    if client_id in seen:
        raise DataError(
            f"{window.path}: client {client_id!r} is also in {seen[client_id]}; a "
            "client must be in one place: remove one of the two"
        )
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


def _check_counts(path: Path, rest: dict, counts: dict[str, int] | None) -> None:
    """The head of a shard must agree with what it holds."""
    again = "the file is not as LEAF wrote it: make it again"
    missing = [key for key in ("users", "num_samples") if key not in rest]
    if counts is None:
        missing.append("user_data")
    if missing:
        raise DataError(
            f'{path}: no key {", ".join(missing)}; a LEAF file has "users", '
            '"num_samples" and "user_data": is this one?'
        )
    users, sizes = rest["users"], rest["num_samples"]
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
    for client_id, size in zip(users, sizes, strict=True):
        if counts[client_id] != size:
            raise DataError(
                f"{path}: client {client_id!r}: num_samples says {size}, user_data has "
                f"{counts[client_id]}; {again}"
            )


class _Window:
    """A JSON file read forwards through a window of one value at most.

    `members` and `parse` take turns: each key that `members` yields must be
    followed by one `parse` or `skip`, or by `members` again for an object.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._bytes = b""
        self._at = 0  # the cursor, in the window
        self._start = 0  # of the window, in the file

    def members(self) -> Iterator[str]:
        """The keys of the object at the cursor, stopping at each one's value."""
        outer = self._start + self._at == 0
        self._expect(b"{")
        if self._peek() == b"}":
            self._at += 1
        else:
            while True:
                if self._peek() != b'"':
                    raise self._malformed("expected a key")
                key = self.parse("a key")
                self._expect(b":")
                yield key
                if self._peek() == b"}":
                    self._at += 1
                    break
                self._expect(b",")
        if outer and self._peek():
            raise self._malformed("expected the end of the file")

    def parse(self, what: str) -> object:
        """The value at the cursor; `what` names it in an error."""
        length = self._value_length(what)
        start = self._start + self._at
        raw = self._bytes[self._at : self._at + length]
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            # orjson counts characters, a file position counts bytes
            offset = start + len(error.doc[: error.pos].encode())
            found = _NOT_A_NUMBER.search(error.doc, max(0, error.pos - 2))
            if found and found.start() <= error.pos + 1:
                raise DataError(
                    f"{self.path}: byte {offset}: {what} has {found[0]}; expected "
                    "finite numbers: make the file again"
                ) from None
            raise DataError(
                f"{self.path}: byte {offset}: malformed JSON in {what} "
                f"({error.msg}); make the file again or fetch it again"
            ) from None
        self._at += length
        return value

    def skip(self, what: str) -> None:
        """Pass over the value at the cursor."""
        length = self._value_length(what)  # moves the cursor past spaces
        self._at += length

    def _value_length(self, what: str) -> int:
        first = self._peek()
        start = self._start + self._at
        if first != b'"' and first not in _BRACKETS:
            while True:
                end = _SCALAR.match(self._bytes, self._at).end()
                if end < len(self._bytes) or not self._more():
                    return end - self._at
        # A search that fails starts again: the window doubles, so it stays linear.
        while (end := _value_end(self._bytes, self._at)) is None:
            if not self._more():
                size = self._start + len(self._bytes)
                raise DataError(
                    f"{self.path}: byte {size}: the file ends inside {what}, which "
                    f"starts at byte {start}: it is cut short; make it again or "
                    "fetch it again"
                )
        return end - self._at

    def _more(self) -> bool:
        """Drop what is behind the cursor and read on; False at the end."""
        rest = self._bytes[self._at :]
        block = self._file.read(max(BLOCK, len(rest)))  # doubling: linear in total
        self._start += self._at
        self._bytes, self._at = rest + block, 0
        return bool(block)

    def _peek(self) -> bytes:
        """The next byte that is not a space; empty at the end of the file."""
        while True:
            self._at = _SPACE.match(self._bytes, self._at).end()
            if self._at < len(self._bytes) or not self._more():
                return self._bytes[self._at : self._at + 1]

    def _expect(self, symbol: bytes) -> None:
        if self._peek() != symbol:
            raise self._malformed(f"expected {symbol.decode()!r}")
        self._at += 1

    def _malformed(self, expected: str) -> DataError:
        found = self._peek()
        offset = self._start + self._at
        if not found:
            return DataError(
                f"{self.path}: byte {offset}: the file ends here, {expected}: it is "
                "cut short; make it again or fetch it again"
            )
        return DataError(
            f"{self.path}: byte {offset}: malformed JSON, {expected}, found {found!r}; "
            "make the file again or fetch it again"
        )


def _value_end(text: bytes, start: int) -> int | None:
    """Where the string, object or array at `start` ends; None when beyond `text`.

    Only `bytes.find` looks at every byte: numbers, nearly all of an image file, are
    passed over at the speed of the memory.
    """
    opener = text[start : start + 1]
    if opener == b'"':
        return _string_end(text, start)
    closer = _BRACKETS[opener]
    at, depth = start, 0
    quote = opening = closing = -1  # the next of each, at or after `at`
    while True:
        if quote < at:
            quote = _find(text, b'"', at)
        if opening < at:
            opening = _find(text, opener, at)
        if closing < at:
            closing = _find(text, closer, at)
        if closing == len(text):
            return None
        if quote < opening and quote < closing:
            after = _string_end(text, quote)
            if after is None:
                return None
            at = after
        elif opening < closing:
            depth, at = depth + 1, opening + 1
        else:
            depth, at = depth - 1, closing + 1
            if depth == 0:
                return at


def _find(text: bytes, symbol: bytes, start: int) -> int:
    found = text.find(symbol, start)
    return len(text) if found < 0 else found


def _string_end(text: bytes, start: int) -> int | None:
    found = _STRING.match(text, start)
    return found and found.end()
