"""A JSON file of any size, read one value at a time.

A window slides over its bytes and cuts out one value at a time, by a search that stops
at quotes and brackets only; orjson then parses that value. So memory is bounded by the
largest value that is asked for.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from fedmeta.data.errors import DataError

BLOCK = 4 << 20  # bytes read at a time
_BRACKETS = {b"{": b"}", b"[": b"]"}
# Possessive quantifiers: an unfinished string must not take quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb'[^,\]}\s"]*')
_NOT_A_NUMBER = re.compile(r"-?(?:NaN|Infinity)")


class JsonWindow:
    """A JSON file read forwards through a window of one value at most.

    `members` and `parse` take turns: each key that `members` yields must be
    followed by one `parse` or `skip`, or by `members` again for an object.
    """

    def __init__(self, path: Path, file: IO[bytes], start: int = 0) -> None:
        file.seek(start)
        self.path = path
        self._file = file
        self._bytes = b""
        self._at = 0  # the cursor, in the window
        self._start = start  # of the window, in the file

    @property
    def position(self) -> int:
        """Of the cursor, in the file."""
        return self._start + self._at

    def members(self) -> Iterator[str]:
        """The keys of the object at the cursor, stopping at each one's value."""
        outer = self.position == 0
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

    def parse(self, what: str) -> Any:
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
                end = _past(_SCALAR, self._bytes, self._at)
                if end < len(self._bytes) or not self._more():
                    return end - self._at
        # A search that fails starts again: the window doubles, so it stays linear.
        while (after := _value_end(self._bytes, self._at)) is None:
            if not self._more():
                size = self._start + len(self._bytes)
                raise DataError(
                    f"{self.path}: byte {size}: the file ends inside {what}, which "
                    f"starts at byte {start}: it is cut short; make it again or "
                    "fetch it again"
                )
        return after - self._at

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
            self._at = _past(_SPACE, self._bytes, self._at)
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
            f"{self.path}: byte {offset}: malformed JSON, {expected}, found "
            f"{found.decode(errors='replace')!r}; make the file again or fetch it again"
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


def _past(pattern: re.Pattern[bytes], text: bytes | bytearray, at: int) -> int:
    """Where what the pattern matches from a position ends."""
    found = pattern.match(text, at)
    return at if found is None else found.end()
