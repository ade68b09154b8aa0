"""Compact lists of ids: a million take 30 MB, where str and dict take 250.

The characters of all ids lie in one Arrow array. What finds an id is a sorted array of
the hashes that Python gives to strings: 12 bytes an id, 2 microseconds a search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fedmeta.late import pd

PIECE = 1 << 14  # so many are strings of Python at a time
# Those that have an index, which equal ones share: tables of the same clients are many.
_INDEXED: WeakValueDictionary[int, Ids] = WeakValueDictionary()


class Ids(Sequence[str]):
    """Immutable list of ids with fast lookup.

    >>> ids = Ids(["ann", "bob"])
    >>> ids[1], ids.row("bob"), "cid" in ids, ids == ["ann", "bob"]
    ('bob', 1, False, True)
    """

    def __init__(self, ids: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        array = ids if isinstance(ids, pa.ChunkedArray) else pa.array(ids)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        self._array = array.cast(pa.large_string())  # as pandas has it: nothing copied

    def row(self, wanted: str) -> int:
        """The first place of an id.

        Raises:
            KeyError: for one that is not there.
        """
        hashes, rows = self._index
        sought = hash(wanted)
        place = int(hashes.searchsorted(sought))
        while place < len(rows) and hashes.item(place) == sought:
            row = rows.item(place)
            if self._array[row].as_py() == wanted:
                return row
            place += 1
        raise KeyError(wanted)

    def repeated(self) -> str | None:
        """The first id that was there before, if any was."""
        hashes, _ = self._index
        if (hashes[1:] != hashes[:-1]).all():
            return None
        before: set[str] = set()
        for client_id in self:
            if client_id in before:
                return client_id
            before.add(client_id)
        return None

    def order(self) -> np.ndarray:
        """int64 [n] rows in the order in which `sorted` would put the ids."""
        # Bytes of UTF-8 are ordered as the characters are.
        return pc.array_sort_indices(self._array).to_numpy().astype(np.int64)

    def take(self, rows: np.ndarray) -> Ids:
        """Those in some rows, in the order of the rows."""
        return Ids(self._array.take(pa.array(rows)))

    def to_pandas(self) -> pd.Series:
        """A column of the ids, which shares their memory where pandas can."""
        return self._array.to_pandas()

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [n] hashes, ascending, and int32 [n] the row of each, ascending too."""
        for other in list(_INDEXED.values()):
            if other._array.equals(self._array):
                return other._index
        _INDEXED[id(self)] = self
        hashes = np.fromiter(map(hash, self), np.int64, len(self))
        rows = np.argsort(hashes, kind="stable")
        return hashes[rows], rows.astype(np.int32)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return Ids(self._array[at])
        return self._array[int(at)].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), PIECE):
            yield from self._array.slice(start, PIECE).to_pylist()

    def __contains__(self, wanted: object) -> bool:
        try:
            return isinstance(wanted, str) and self.row(wanted) >= 0
        except KeyError:
            return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # as Python wants it said

    def __reduce__(self) -> tuple[Any, ...]:
        return Ids, (self._array,)  # another process hashes strings otherwise

    def __repr__(self) -> str:
        return f"Ids({pa.array(self._array[:3]).to_pylist()}, {len(self)} in all)"
