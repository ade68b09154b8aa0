"""When something was: ISO 8601 or a number since 1970, to the nanosecond."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedmeta.data.errors import DataError

SECOND = 1_000_000_000  # nanoseconds
EXPECTED = (
    "ISO 8601, such as 2024-05-31T18:05:00 with or without a zone like +02:00, or a "
    "whole number of seconds or milliseconds since 1970"
)
# What can be told apart: days as 20240531 are neither, microseconds are neither.
# The last is the end of what nanoseconds hold, in 2262.
SECONDS_RANGE = (100_000_000, 9_223_372_035)
MILLISECONDS_RANGE = (100_000_000_000, 9_223_372_035_999)

LOCAL, ZONED, NUMBERS = "without a time zone", "with a time zone", "as numbers"
_LOCAL, _ZONED = pa.timestamp("ns"), pa.timestamp("ns", "UTC")
_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"
_TIME_AND_ZONE = r"[T ]\d.*" + _ZONE  # a date may end like a zone: 2024-05-31
_WHOLE_NUMBER = r"^-?\d+$"


class Times(NamedTuple):
    """A column of times."""

    instant: np.ndarray  # int64 [n] ns since 1970, UTC where the zone is known
    clock: np.ndarray  # int64 [n] s since 1970 of the clock as it is written
    form: str  # LOCAL, ZONED or NUMBERS


def read_times(column: pa.ChunkedArray, place: Callable[[int], str]) -> Times:
    """Understand a column of times, all of the form of the first.

    Args:
        column: texts, whole numbers or Arrow's times, at least one.
        place: names a row in messages.

    Raises:
        DataError: for a time that cannot be read; names the row, the value and what is
            expected.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = pc.cast(column, kind.value_type)
        kind = column.type
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise DataError(f"{place(row)}: no time; expected {EXPECTED}: mend the row")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if pc.match_substring_regex(column[:1], _WHOLE_NUMBER)[0].as_py():
            return _numbers(column, place)
        return _texts(column, place)
    if pa.types.is_integer(kind):
        return _numbers(column, place)
    if pa.types.is_timestamp(kind) and kind.tz:
        wall = _integers(pc.local_timestamp(column), _LOCAL, place)
        return Times(_integers(column, _ZONED, place), wall // SECOND, ZONED)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _local(column, place)
    raise DataError(f"{place(0)}: times are of type {kind}; expected {EXPECTED}")


def _texts(column: pa.ChunkedArray, place: Callable[[int], str]) -> Times:
    zoned = pc.match_substring_regex(column, _TIME_AND_ZONE)
    if not pc.any(zoned).as_py():
        return _local(column, place)
    if not pc.all(zoned).as_py():
        row = pc.index(zoned, False).as_py()
        _integers(column[row : row + 1], _LOCAL, lambda _: place(row))  # may be no time
        other = pc.index(zoned, True).as_py()
        raise DataError(
            f"{place(row)}: the time {column[row].as_py()!r} has no zone, but "
            f"{column[other].as_py()!r} has one; expected {EXPECTED}, the zone in all "
            "or in none"
        )
    instant = _integers(column, _ZONED, place)
    bare = pc.replace_substring_regex(column, _ZONE, "")
    return Times(instant, _integers(bare, _LOCAL, place) // SECOND, ZONED)


def _numbers(column: pa.ChunkedArray, place: Callable[[int], str]) -> Times:
    values = _integers(column, pa.int64(), place)
    in_seconds = values[0] <= SECONDS_RANGE[1]
    low, high = SECONDS_RANGE if in_seconds else MILLISECONDS_RANGE
    wrong = np.flatnonzero((values < low) | (values > high))
    if len(wrong):
        raise DataError(
            f"{place(wrong[0])}: time {values[wrong[0]]} where the first is {values[0]}"
            f"; expected seconds since 1970, from {SECONDS_RANGE[0]}, in all rows, or "
            f"milliseconds, from {MILLISECONDS_RANGE[0]}, in all; other units or dates "
            "like 20240531 have to be written as one of these or as ISO 8601"
        )
    instant = values * (SECOND if in_seconds else SECOND // 1000)
    return Times(instant, instant // SECOND, NUMBERS)


def _local(column: pa.ChunkedArray, place: Callable[[int], str]) -> Times:
    instant = _integers(column, _LOCAL, place)
    return Times(instant, instant // SECOND, LOCAL)


def _integers(
    column: pa.ChunkedArray, kind: pa.DataType, place: Callable[[int], str]
) -> np.ndarray:
    """int64 [n] of a column as another type."""
    try:
        return pc.cast(pc.cast(column, kind), pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        row = _first_failure(column, kind)
        value = column[row].as_py()
        raise DataError(
            f"{place(row)}: the time {value!r} cannot be read; expected {EXPECTED}, of "
            "the years 1678 to 2261: mend the row"
        ) from None


def _first_failure(column: pa.ChunkedArray, kind: pa.DataType) -> int:
    """The first row that cannot be cast, by halves."""
    start, stop = 0, len(column)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            pc.cast(column[start:middle], kind)
            start = middle
        except pa.ArrowInvalid:
            stop = middle
    return start
