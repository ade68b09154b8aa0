"""Kedro datasets of the project's own artefacts. Every write is atomic.

A file appears under its name only when it is complete, so that neither a full disk nor
Ctrl-C leaves half of one to be taken for whole.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import AbstractDataset
from kedro_datasets._typing import (  # Kedro-Viz goes by these names
    HTMLPreview,
    TablePreview,
)
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from kedro_datasets.text import TextDataset

from fedmeta import identity
from fedmeta.checkpoints import (
    Checkpoint,
    EarlierCheckpoints,
    kept_as,
    read_checkpoint,
    write_checkpoint,
)
from fedmeta.data.cells import READ, guarded, unguarded
from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.federated import (
    PACKED,
    ClientRecords,
    FederatedDataset,
    read_packed,
    write_packed,
)
from fedmeta.data.files import whole_path
from fedmeta.data.remote import RemoteRecords, from_json, to_json
from fedmeta.data.seal import seal, unsealed, verify
from fedmeta.data.tensors import read_tensors, write_tensors
from fedmeta.identity import Settings

log = logging.getLogger(__name__)

PREPARED = "prepared data"
MADE_AGAIN = "run the whole pipeline again: it is made again"
SETTINGS = "settings"  # among the metadata of packed data: what they were made with


class PackedSource(NamedTuple):
    """Clients to be written to a packed file."""

    # Clients and metadata: called where they are not packed already, since some raw
    # files are read whole before the first client.
    read: Callable[[], tuple[Iterator[ClientRecords], dict[str, str]]]
    settings: Settings  # that decide what is packed


class _FileDataset(AbstractDataset[Any, Any]):
    """A dataset of one file."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class PackedDataset(_FileDataset):
    """Packed records of all clients; packed again when their identity changes.

    That is raw files, options and code: see `fedmeta.identity`.
    """

    def load(self) -> FederatedDataset:
        return read_packed(self._filepath)

    def save(self, data: PackedSource) -> None:
        if not self._holds(data.settings):
            clients, metadata = data.read()
            made_with = {SETTINGS: json.dumps(data.settings)}
            write_packed(self._filepath, clients, {**metadata, **made_with})

    def _holds(self, wanted: Settings) -> bool:
        if not self._exists():
            return False
        again = "packing it again from the raw files"
        try:
            verify(self._filepath, PACKED, again)
        except DataError as error:
            log.warning("%s", error)
            return False
        packed = json.loads(read_packed(self._filepath).metadata.get(SETTINGS, "{}"))
        if names := identity.differences(packed, wanted):
            words = identity.in_words(names, packed, wanted)
            earlier = "by an earlier version of this project"
            how = f"with {words}" if packed else earlier
            log.info("%s: packed %s; %s", self._filepath, how, again)
        return not names


class RemoteRecordsDataset(_FileDataset):
    """What is known of records that are on the nodes of a federation, as JSON."""

    def load(self) -> RemoteRecords:
        return from_json(json.loads(self._filepath.read_text()))

    def save(self, data: RemoteRecords) -> None:
        with whole_path(self._filepath) as temporary:
            temporary.write_text(json.dumps(to_json(data)))


class CodebookDataset(_FileDataset):
    """A codebook as safetensors; its note is in the header."""

    def load(self) -> Codebook:
        remedy = "delete it and run again: it is made again from the packed records"
        tables, header = read_tensors(self._filepath, "codebook", remedy)
        return Codebook(tables, **header)

    def save(self, data: Codebook) -> None:
        header = {"note": data.note, "settings": data.settings}
        write_tensors(self._filepath, "codebook", data.tables, header)


class CheckpointDataset(_FileDataset):
    """The newest checkpoint of a training run, as safetensors: no code in it.

    Checkpoints of other options, data or numbers of rounds are kept beside it, a file
    each: going back to those resumes where they ended.
    """

    def load(self) -> Checkpoint:
        return read_checkpoint(self._filepath)

    def save(self, data: Checkpoint) -> None:
        name = kept_as(self._filepath, data.fingerprint, str(data.rounds))
        write_checkpoint(self._filepath.with_name(name), data)
        with whole_path(self._filepath) as link:  # to the newest
            link.unlink()
            link.symlink_to(name)


class EarlierCheckpointsDataset(_FileDataset):
    """What a `CheckpointDataset` at the same path, and beside it, has kept."""

    def load(self) -> EarlierCheckpoints:
        return EarlierCheckpoints(self._filepath)

    def save(self, data: None) -> None:
        raise TypeError("earlier checkpoints are written by the training alone")

    def _exists(self) -> bool:
        return True  # having none is fine


class Atomic:
    """Mixed into a dataset of one file: it is written beside it and moved there."""

    _filepath: Any  # kedro-datasets' own: a `PurePosixPath`

    def save(self, data: Any) -> None:
        with whole_path(Path(self._filepath)) as temporary:
            self._write(data, temporary)

    def _write(self, data: Any, temporary: Path) -> None:
        path = self._filepath
        self._filepath = PurePosixPath(temporary)
        try:
            super().save(data)  # type: ignore[misc]  # the dataset's own
        finally:
            self._filepath = path


class AtomicCSVDataset(Atomic, CSVDataset):
    """kedro_datasets.pandas.CSVDataset, written whole or not at all.

    Names from outside are no formulas in it: see `fedmeta.data.cells`.
    """

    DEFAULT_LOAD_ARGS = READ
    DEFAULT_FS_ARGS = {"open_args_save": {"mode": "w", "encoding": "utf-8"}}

    def _write(self, data: pd.DataFrame, temporary: Path) -> None:
        super()._write(guarded(data), temporary)

    def load(self) -> pd.DataFrame:
        return unguarded(super().load())


class AtomicParquetDataset(Atomic, ParquetDataset):
    """A table and its attributes as Parquet, whole or not at all; without its index.

    A column of lists is read as one array, not as an array a row: see
    `fedmeta.data.partition.record_orders`.
    """

    def _write(self, data: pd.DataFrame, temporary: Path) -> None:
        table = pa.Table.from_pandas(data, preserve_index=False)
        attributes = {"seal": unsealed(PREPARED), "attrs": json.dumps(data.attrs)}
        sealed = table.replace_schema_metadata(attributes)
        pq.write_table(sealed, temporary)
        seal(temporary, PREPARED)

    def load(self) -> pd.DataFrame:
        path = Path(self._filepath)
        verify(path, PREPARED, MADE_AGAIN)
        stored = pq.read_table(path, partitioning=None)
        table = stored.to_pandas(
            types_mapper=lambda t: pd.ArrowDtype(t) if pa.types.is_nested(t) else None
        )
        table.attrs = json.loads(stored.schema.metadata.get(b"attrs", "{}"))
        return table

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows, for Kedro-Viz; arrays as texts, since JSON has none."""
        head = self.load().head(nrows)
        arrays = head.select_dtypes(pd.ArrowDtype)
        return head.assign(**arrays.map(str)).to_dict(orient="split")


class AtomicJSONDataset(Atomic, JSONDataset):
    """A mapping or a list as JSON, written whole or not at all and sealed."""

    def _write(self, data: dict[str, Any] | list[Any], temporary: Path) -> None:
        mark = unsealed(PREPARED)
        marked = {"seal": mark, **data} if isinstance(data, dict) else [mark, *data]
        super()._write(marked, temporary)
        seal(temporary, PREPARED)

    def load(self) -> dict[str, Any] | list[Any]:
        verify(Path(self._filepath), PREPARED, MADE_AGAIN)
        marked = super().load()
        del marked["seal" if isinstance(marked, dict) else 0]
        return marked


class AtomicTextDataset(Atomic, TextDataset):
    """kedro_datasets.text.TextDataset, written whole or not at all: a page."""

    def preview(self) -> HTMLPreview:
        """The whole page, for Kedro-Viz, which shows its body."""
        return HTMLPreview(self.load())


class ResultDataset(AtomicCSVDataset):
    """Results as CSV, with what they are results of (``DataFrame.attrs``) beside them.

    The attributes are JSON values in a file of the same name with the suffix ".json",
    which also holds the SHA-256 of both: neither file can be altered or replaced
    without the other.
    """

    def save(self, data: pd.DataFrame) -> None:
        path = Path(self._filepath)
        # Both files appear together, after both are complete.
        with whole_path(path) as table, whole_path(_beside(path)) as origin:
            self._write(data, table)
            checksum = {"sha256": _sha256(table, data.attrs)}
            origin.write_text(json.dumps({**checksum, **data.attrs}))

    def load(self) -> pd.DataFrame:
        path = Path(self._filepath)
        try:
            attributes = dict(json.loads(_beside(path).read_text()))
        except (OSError, ValueError, TypeError):
            attributes = {}
        if attributes.pop("sha256", None) != _sha256(path, attributes):
            raise DataError(
                f"{path}: {_beside(path).name} does not say what these results were"
                " made with (edited, or written by an earlier version); run the"
                " pipeline that makes them again: finished trainings are taken over"
            )
        table = super().load()
        table.attrs = attributes
        return table


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _sha256(table: Path, attributes: dict[str, Any]) -> str:
    digest = hashlib.sha256(table.read_bytes())
    digest.update(json.dumps(attributes).encode())
    return digest.hexdigest()
