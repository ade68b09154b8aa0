"""Stanford's CSV of tweets, row by row.

ISO-8859-1, no header, six columns: polarity, id, date, query, user, text (Go, Bhayani
and Huang 2009). A quoted text may hold line breaks. A first line that ends in the names
"user" and "text" is a header that somebody has added, and is passed over.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fedmeta.data.errors import DataError

TRAINING = "training.1600000.processed.noemoticon.csv"
TEST = "testdata.manual.2009.06.14.csv"
COLUMNS = ("polarity", "id", "date", "query", "user", "text")
LABELS = {"0": 0, "2": 0, "4": 1}  # LEAF asks only whether it is "4"
HEADER = ["user", "text"]  # how a line of names ends
SYNTHETIC = "SYNTHETIC"  # in the column `query` of generated rows
_LAYOUT = f"expected {len(COLUMNS)} columns: {', '.join(COLUMNS)}"
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class Tweet(NamedTuple):
    """One row."""

    user: str
    text: str
    label: int  # 1 positive, 0 not
    synthetic: bool


def read_tweets(path: Path) -> Iterator[Tweet]:
    """Stream the rows of a file.

    Raises:
        DataError: for another encoding, an empty or cut file, a header, another number
            of columns, another polarity or a row without a user; names file and line.
    """
    _check_bytes(path)
    with open(path, encoding="latin-1", newline="") as file:
        raw: list[str] = []  # the lines of a row
        last: list[str] = []  # those of the last row
        rows = csv.reader(_noted(file, raw))
        line = 1  # where the row starts; line_num is where it ends
        try:
            for row in rows:
                if line > 1 or not _is_header(row):
                    yield _tweet(row, f"{path}: line {line}")
                line = rows.line_num + 1
                last, raw[:] = raw[:], []
        except csv.Error as error:
            raise DataError(
                f"{path}: line {line}: not CSV ({error}); is a quote left open there? "
                "Mend it or fetch the file again"
            ) from None
    if _is_open(last):
        raise DataError(
            f"{path}: line {line - len(last)}: the file ends inside a quoted field: it"
            " is cut short; fetch it again"
        )


def _noted(lines: Iterable[str], read: list[str]) -> Iterator[str]:
    for line in lines:
        read.append(line)
        yield line


def _is_open(lines: list[str]) -> bool:
    """Whether a row ends inside quotes, which csv reads as if they had been closed."""
    try:
        list(csv.reader(lines, strict=True))
    except csv.Error as error:
        return "end of data" in str(error)  # else of other quotes, which are let pass
    return False


def _is_header(row: list[str]) -> bool:
    names = [name.strip().lower() for name in row]
    return names[4:] == HEADER and not names[0].isdecimal()


def _tweet(row: list[str], place: str) -> Tweet:
    if len(row) != len(COLUMNS):
        raise DataError(
            f"{place}: {len(row)} columns; {_LAYOUT}: mend the row or write the file "
            "again, with commas between and quotes around the fields"
        )
    polarity, _, _, query, user, text = row
    # pandas writes 4.0 where another row has no polarity
    label = LABELS.get(polarity.strip().removesuffix(".0"))
    if label is None:
        raise DataError(
            f"{place}: polarity {polarity!r}; expected 0 (negative), 2 (neutral) or 4 "
            "(positive): write the file with these (a header, if this line is one, has"
            f" the names {', '.join(COLUMNS)})"
        )
    if not user:
        raise DataError(f"{place}: no user; expected a name: write one there")
    return Tweet(user, text, label, query == SYNTHETIC)


def _check_bytes(path: Path) -> None:
    """Refuse what decodes as ISO-8859-1, as any bytes do, but was not meant so."""
    content = path.read_bytes()  # less than its tweets take
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            raise _encoding_error(path, encoding)
    if b"\0" in content:
        line = 1 + content.count(b"\n", 0, content.index(b"\0"))
        raise DataError(
            f"{path}: line {line}: a NUL byte; expected text in ISO-8859-1: "
            "convert the file if it is UTF-16, else fetch it again"
        )
    if not content.strip():
        raise DataError(f"{path}: the file is empty; fetch it again")
    # Of Stanford's own small file it is known, and few bytes may agree by chance.
    if path.name != TEST and not content.isascii() and _is_utf8(content):
        raise _encoding_error(path, "UTF-8")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _encoding_error(path: Path, encoding: str) -> DataError:
    return DataError(
        f"{path}: is in {encoding}; expected ISO-8859-1, as Stanford's files are: "
        f"iconv -f {encoding} -t ISO-8859-1//TRANSLIT < {path.name} > converted.csv"
    )
