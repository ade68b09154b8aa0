"""A federated data set in one file: Arrow IPC, a row a client, read through a map.

Every column of a client is a numeric array with one entry a record, stored as a
list. Writing streams: record batches of a few megabytes, so memory does not grow
with the number of clients. Reading maps the file: a client's columns are views on the
map, and opening it touches ids and offsets only, but for the first time in a process,
when the checksum of the whole file is verified (640 MB: 0.3 s on 2 cores, from memory).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from fedmeta.data.errors import DataError
from fedmeta.data.files import whole_file
from fedmeta.data.ids import Ids
from fedmeta.data.seal import seal, unsealed, verify
from fedmeta.late import pd

PACKED = "packed clients"
BATCH_BYTES = 4 << 20  # large enough for fast writes, small beside any memory
OBJECT_BYTES = 300  # that a client takes for each column, however few its records
AGAIN = "run the ingestion again: it is packed again from the raw files"


class ClientRecords(NamedTuple):
    """One client's records."""

    client_id: str
    columns: dict[str, np.ndarray]  # name -> [n] or [n, d], the same n in all


class _Column(NamedTuple):
    values: np.ndarray  # [records of the batch] or [records of the batch, d]
    offsets: np.ndarray  # [clients of the batch + 1]


@dataclass(frozen=True, eq=False)
class FederatedDataset:
    """Clients of a packed file; made by `read_packed`.

    A copy (also a pickled one, in another process) maps the same file again.
    """

    path: Path
    client_ids: Ids  # sorted, so that no split depends on the order of files
    num_examples: np.ndarray  # int64 [clients] entries of a column, as client_ids
    metadata: dict[str, str]
    checksum: str
    _rows: np.ndarray  # int64 [clients] rows of the file, as client_ids
    _starts: list[int]  # of each batch, its first row
    _batches: list[dict[str, _Column]]

    @property
    def synthetic(self) -> bool:
        """Whether the data themselves say that they were generated."""
        return self.metadata["synthetic"] == "true"

    @property
    def stands_in(self) -> bool:
        """Whether they are others than the benchmark's own: generated, or of a name."""
        return self.synthetic or "name" in self.metadata

    @property
    def ordered(self) -> bool:
        """Whether the data say that a client's records are in order of time."""
        return self.metadata.get("ordered") == "true"

    def columns(self, client_id: str) -> dict[str, np.ndarray]:
        """A client's records, as read-only views on the mapped file.

        Raises:
            DataError: when there is no such client.
        """
        try:
            row = self._rows[self.client_ids.row(client_id)]
        except KeyError:
            raise DataError(
                f"{self.path}: no client {client_id!r} among {len(self.client_ids)}; "
                "make the clients table from this data set again"
            ) from None
        batch = bisect_right(self._starts, row) - 1
        row -= self._starts[batch]
        return {
            name: column.values[column.offsets[row] : column.offsets[row + 1]]
            for name, column in self._batches[batch].items()
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return read_packed, (self.path,)


def write_packed(
    path: str | Path, clients: Iterable[ClientRecords], metadata: dict[str, str]
) -> None:
    """Write clients to a packed file, whole or not at all.

    The checksum is the sum of the clients' SHA-256 modulo 2^256: the same records
    give the same one however they are spread over raw files.

    Args:
        path: replaced at the end, when everything is on the disk.
        clients: consumed once, one at a time.
        metadata: kept with the data; `checksum` is added.

    Raises:
        DataError: for a client given twice, no client at all, columns that
            disagree, or any error of `clients` itself.
        OSError: when the disk is full; nothing is left behind.
    """
    path = Path(path)
    total, ids, schema = 0, [], None
    pending, size = [], 0
    with whole_file(path) as file:
        for client in clients:
            if schema is None:
                schema = _schema(client)
                writer = pa.ipc.new_file(file, schema)
            _check(client, schema)
            total += _digest(client)
            pending.append(client)
            size += sum(c.nbytes + OBJECT_BYTES for c in client.columns.values())
            if size >= BATCH_BYTES:
                ids.append(_write_batch(writer, pending, schema))
                pending, size = [], 0
        if schema is None:
            raise DataError(f"{path}: there are no clients to write; check the input")
        if pending:
            ids.append(_write_batch(writer, pending, schema))
        twice = Ids(pa.chunked_array(ids)).repeated()
        if twice is not None:
            raise DataError(f"client {twice!r} comes twice; expected once")
        # The checksum is known only now, so an empty last batch carries it.
        closing = {**metadata, "checksum": f"{total % 2**256:064x}"}
        writer.write_batch(pa.RecordBatch.from_pylist([], schema), closing)
        writer.close()
        file.flush()
        seal(Path(file.name), PACKED)


def read_packed(path: str | Path) -> FederatedDataset:
    """Open a packed file; reads ids and offsets, none of the records.

    Its checksum is verified once in a process (see `fedmeta.data.seal`). Whatever
    happens to the file while it is open is not seen: to cut it short ends the process.
    Packing again does not: it puts another file in its place.

    Raises:
        DataError: when the file is missing, damaged or not a packed file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; run the ingestion first")
    verify(path, PACKED, AGAIN)
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    last = reader.num_record_batches - 1
    batches = [reader.get_batch(i) for i in range(last)]
    _, closing = reader.get_batch_with_custom_metadata(last)
    metadata = {key.decode(): value.decode() for key, value in closing.items()}
    ids = Ids(pa.chunked_array([b.column(0) for b in batches], pa.string()))
    rows = ids.order()
    client_ids = ids.take(rows)
    del ids
    pa.default_memory_pool().release_unused()  # what sorting and writing have needed
    sizes = [np.diff(batch.column(1).offsets.to_numpy()) for batch in batches]
    return FederatedDataset(
        path=path,
        client_ids=client_ids,
        num_examples=np.concatenate(sizes)[rows].astype(np.int64),
        metadata=metadata,
        checksum=metadata["checksum"],
        _rows=rows,
        _starts=np.cumsum([0, *map(len, sizes[:-1])]).tolist(),
        _batches=[_views(batch) for batch in batches],
    )


def clients_table(
    records: FederatedDataset, rows: np.ndarray, stop: np.ndarray
) -> pd.DataFrame:
    """`client_id`, `start`, `stop`: the first records of the clients in these rows."""
    client_ids = records.client_ids.take(rows).to_pandas()
    return pd.DataFrame({"client_id": client_ids, "start": 0, "stop": stop})


def _schema(client: ClientRecords) -> pa.Schema:
    """The columns of the first client are everyone's."""
    fields = [pa.field("client_id", pa.string())]
    for name, column in client.columns.items():
        if column.dtype.kind not in "iuf" or column.ndim not in (1, 2):
            raise DataError(
                f"client {client.client_id!r}: column {name!r} is {column.dtype} of "
                f"{column.ndim} dimensions; expected integers or floats, [n] or [n, d]"
            )
        item = pa.from_numpy_dtype(column.dtype)
        if column.ndim == 2:
            item = pa.list_(item, column.shape[1])
        fields.append(pa.field(name, pa.list_(item)))
    return pa.schema(fields, metadata={"seal": unsealed(PACKED)})


def _check(client: ClientRecords, schema: pa.Schema) -> None:
    if "\r" in client.client_id or "\0" in client.client_id:
        raise DataError(
            f"client {client.client_id!r} has a carriage return or a NUL in its name, "
            "which no table keeps; give it another name in the raw files"
        )
    if not _schema(client).equals(schema):
        raise DataError(
            f"client {client.client_id!r} has other columns than the clients before it"
        )
    if len({len(column) for column in client.columns.values()}) != 1:
        raise DataError(f"client {client.client_id!r} has columns of different lengths")


def _digest(client: ClientRecords) -> int:
    digest = hashlib.sha256(client.client_id.encode())
    for name, column in client.columns.items():
        digest.update(f"|{name}|{column.dtype.str}|{column.shape}|".encode())
        digest.update(np.ascontiguousarray(column).data)
    return int.from_bytes(digest.digest())


def _write_batch(
    writer: pa.RecordBatchWriter, clients: list[ClientRecords], schema: pa.Schema
) -> pa.Array:
    """Write clients; returns their ids."""
    arrays = [pa.array([client.client_id for client in clients], pa.string())]
    for field in list(schema)[1:]:
        columns = [client.columns[field.name] for client in clients]
        offsets = np.cumsum([0, *map(len, columns)], dtype=np.int32)
        values = pa.array(np.concatenate(columns).reshape(-1))
        if pa.types.is_fixed_size_list(field.type.value_type):
            values = pa.FixedSizeListArray.from_arrays(
                values, type=field.type.value_type
            )
        arrays.append(pa.ListArray.from_arrays(offsets, values, type=field.type))
    writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return arrays[0]


def _views(batch: pa.RecordBatch) -> dict[str, _Column]:
    """Numpy views of a batch's columns; nothing is copied."""
    views = {}
    for field, array in zip(list(batch.schema)[1:], batch.columns[1:], strict=True):
        values = array.values
        if pa.types.is_fixed_size_list(values.type):
            width = values.type.list_size
            values = values.values.to_numpy().reshape(-1, width)
        else:
            values = values.to_numpy()
        views[field.name] = _Column(values, array.offsets.to_numpy())
    return views
