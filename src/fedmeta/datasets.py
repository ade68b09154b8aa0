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
import torch
from kedro.io import AbstractDataset
from kedro_datasets.json import JSONDataset
from kedro_datasets.matplotlib import MatplotlibDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from kedro_datasets.text import TextDataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedmeta import identity
from fedmeta.core.types import Divergence, MetaParams, ServerState
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
from fedmeta.data.seal import seal, unsealed, verify
from fedmeta.identity import ROUNDS, Settings

log = logging.getLogger(__name__)

PREPARED = "prepared data"
MADE_AGAIN = "run the whole pipeline again: it is made again"
SETTINGS = "settings"  # among the metadata of packed data: what they were made with


class PackedSource(NamedTuple):
    """Clients to be written to a packed file."""

    clients: Iterator[ClientRecords]
    metadata: dict[str, str]
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
            settings = json.dumps(data.settings)
            metadata = {**data.metadata, SETTINGS: settings}
            write_packed(self._filepath, data.clients, metadata)

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


class CodebookDataset(_FileDataset):
    """A codebook as safetensors; its note is in the header."""

    def load(self) -> Codebook:
        remedy = "delete it and run again: it is made again from the packed records"
        tables, header = _read_tensors(self._filepath, "codebook", remedy)
        return Codebook(tables, **header)

    def save(self, data: Codebook) -> None:
        header = {"note": data.note, "settings": data.settings}
        _write_tensors(self._filepath, "codebook", data.tables, header)


class Checkpoint(NamedTuple):
    """State of a training after a round: all that resuming needs."""

    settings: Settings  # that decide the training, but for the number of rounds
    state: ServerState
    history: dict[str, pd.DataFrame]  # algorithm -> a row an evaluated round
    rounds: int  # that the run was asked for
    # As the fingerprint, but of what the learned parameters depend on: how clients that
    # only watch are divided is left out. Empty where everything counts.
    shared: str = ""
    # Where the training diverged, after the state that is here: it never finishes.
    diverged: Divergence | None = None
    # Mean of the server's parameters after the last ``averaged`` rounds: of the last
    # quarter of the rounds that the run was asked for, as far as it has come.
    average: MetaParams | None = None
    averaged: int = 0
    # algorithm -> a row a validation client and evaluated round: what the means of the
    # history are of
    validation: dict[str, pd.DataFrame] = {}

    @property
    def learned(self) -> MetaParams:
        """The parameters that are judged and used, by the option training.iterate."""
        wanted = self.settings.get("training.iterate") == "average"
        return self.average if wanted and self.average else self.state.meta

    @property
    def fingerprint(self) -> str:
        """Of the settings."""
        return identity.fingerprint(self.settings)

    @property
    def reached(self) -> Settings:
        """The settings with the number of rounds until now, or until it diverged."""
        return {**self.settings, ROUNDS: self.ended}

    @property
    def ended(self) -> int:
        """The round that results belong to: the last one asked for, if it diverged."""
        return self.state.round if self.diverged is None else self.rounds


class CheckpointDataset(_FileDataset):
    """The newest checkpoint of a training run, as safetensors: no code in it.

    Checkpoints of other options, data or numbers of rounds are kept beside it, a file
    each: going back to those resumes where they ended.
    """

    def load(self) -> Checkpoint:
        return read_checkpoint(self._filepath)

    def save(self, data: Checkpoint) -> None:
        name = _kept_as(self._filepath, data.fingerprint, str(data.rounds))
        write_checkpoint(self._filepath.with_name(name), data)
        with whole_path(self._filepath) as link:  # to the newest
            link.unlink()
            link.symlink_to(name)


class EarlierCheckpoints(NamedTuple):
    """Access to the checkpoints of earlier runs."""

    # (fingerprint, rounds asked for) -> the furthest one, not beyond these rounds
    own: Callable[[str, int], Checkpoint | None]
    # (shared fingerprint, rounds) -> those that are finished, under any division
    alike: Callable[[str, int], Iterator[Checkpoint]]
    # settings of each one, with its rounds; empty: damaged, or of an earlier version
    others: Callable[[], Iterator[Settings]]


class EarlierCheckpointsDataset(_FileDataset):
    """What a `CheckpointDataset` at the same path, and beside it, has kept."""

    def load(self) -> EarlierCheckpoints:
        def own(fingerprint: str, rounds: int) -> Checkpoint | None:
            pattern = _kept_as(self._filepath, fingerprint, "*")
            # By the round reached; of equal ones that which knows of a divergence.
            usable: dict[tuple[int, bool], Checkpoint] = {}
            damage: DataError | None = None
            for path in sorted(self._filepath.parent.glob(pattern)):
                try:
                    kept = read_checkpoint(path)
                except DataError as error:
                    damage = error
                    continue
                if kept.state.round <= rounds:
                    usable[kept.state.round, kept.diverged is not None] = kept
            found = usable[max(usable)] if usable else None
            if damage is not None:
                then = "over" if found is None else f"from round {found.state.round}"
                raise DataError(f"{damage}: training starts {then}")
            return found

        def alike(shared: str, rounds: int) -> Iterator[Checkpoint]:
            # Runs of one benchmark are folders side by side.
            pattern = f"*/{_kept_as(self._filepath, '*', str(rounds))}"
            for path in sorted(self._filepath.parent.parent.glob(pattern)):
                try:
                    kept = read_checkpoint(path)
                except DataError as error:  # another run's: this one can do without
                    log.warning("%s; this training does not need it", error)
                    continue
                if (kept.shared, kept.state.round) == (shared, rounds):
                    yield kept

        def others() -> Iterator[Settings]:
            pattern = _kept_as(self._filepath, "*", "*")
            for path in sorted(self._filepath.parent.glob(pattern)):
                try:
                    yield read_checkpoint(path).reached
                except DataError:  # nothing of it is used
                    yield {}

        return EarlierCheckpoints(own, alike, others)

    def save(self, data: None) -> None:
        raise TypeError("earlier checkpoints are written by the training alone")

    def _exists(self) -> bool:
        return True  # having none is fine


def _kept_as(path: Path, fingerprint: str, rounds: str) -> str:
    return f"{path.stem}-{fingerprint[:12]}-{rounds}.safetensors"


class _Atomic:
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


class AtomicCSVDataset(_Atomic, CSVDataset):
    """kedro_datasets.pandas.CSVDataset, written whole or not at all.

    Names from outside are no formulas in it: see `fedmeta.data.cells`.
    """

    DEFAULT_LOAD_ARGS = READ
    DEFAULT_FS_ARGS = {"open_args_save": {"mode": "w", "encoding": "utf-8"}}

    def _write(self, data: pd.DataFrame, temporary: Path) -> None:
        super()._write(guarded(data), temporary)

    def load(self) -> pd.DataFrame:
        return unguarded(super().load())


class AtomicParquetDataset(_Atomic, ParquetDataset):
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


class AtomicJSONDataset(_Atomic, JSONDataset):
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


class AtomicTextDataset(_Atomic, TextDataset):
    """kedro_datasets.text.TextDataset, written whole or not at all."""


class AtomicMatplotlibDataset(_Atomic, MatplotlibDataset):
    """kedro_datasets.matplotlib.MatplotlibDataset, written whole or not at all."""


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


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    state = checkpoint.state
    histories = checkpoint.history.items()
    header = {
        "settings": checkpoint.settings,
        "environment": identity.environment(),
        "round": state.round,
        "rounds": checkpoint.rounds,
        "shared": checkpoint.shared,
        "diverged": checkpoint.diverged,
        "averaged": checkpoint.averaged,
        "history": {name: frame.to_dict(orient="list") for name, frame in histories},
    }
    validation, header["validation"] = _numbered(checkpoint.validation)
    average = {} if checkpoint.average is None else {"average": checkpoint.average}
    tree = {"meta": state.meta, "opt_state": state.opt_state, **average}
    tree |= {"validation": validation}
    tensors = dict(_flatten(tree))
    _write_tensors(path, "checkpoint", tensors, header)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: if the file is not one, is damaged, or of an earlier version.
    """
    if path.is_symlink():  # to the newest: that is the file to name
        path = path.with_name(path.readlink().name)
    remedy = "move it away and run again"
    tensors, header = _read_tensors(path, "checkpoint", remedy)
    if "validation" not in header:
        raise DataError(
            f"{path}: written by an earlier version of this project, without the scores"
            f" of validation clients; {remedy}"
        )
    tree = _unflatten(tensors)
    state = ServerState(tree["meta"], tree.get("opt_state", {}), header["round"])
    histories = header["history"].items()
    history = {name: pd.DataFrame(columns) for name, columns in histories}
    settings, rounds, shared = (header[k] for k in ("settings", "rounds", "shared"))
    found = header.get("diverged")
    diverged = None if found is None else Divergence(*found)
    return Checkpoint(
        settings,
        state,
        history,
        rounds,
        shared,
        diverged,
        tree.get("average"),
        header["averaged"],
        _named(tree.get("validation", {}), header["validation"]),
    )


def _numbered(tables: dict[str, pd.DataFrame]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables of clients as tensors, and what `_named` needs beside these.

    The clients' ids, which are the same at every evaluation, become numbers.
    """
    seen = [table["client_id"] for table in tables.values()]
    ids = pd.Index(pd.concat(seen).unique() if seen else [])
    tensors = {
        name: {
            column: torch.tensor(
                ids.get_indexer(values) if column == "client_id" else values.to_numpy()
            )
            for column, values in table.items()
        }
        for name, table in tables.items()
    }
    return tensors, {
        "client_ids": ids.tolist(),
        "columns": {name: list(table) for name, table in tables.items()},
    }


def _named(
    tensors: dict[str, dict[str, Tensor]], header: dict[str, Any]
) -> dict[str, pd.DataFrame]:
    """The inverse of `_numbered`."""
    ids = pd.Series(header["client_ids"], dtype="str")
    return {
        name: pd.DataFrame(
            {
                key: ids.take(values).array if key == "client_id" else values
                for key in columns
                for values in [tensors[name][key].numpy()]
            }
        )
        for name, columns in header["columns"].items()
    }


def _write_tensors(
    path: Path, kind: str, tensors: dict[str, Tensor], header: Any
) -> None:
    """Write tensors and a JSON value to a sealed file, whole or not at all."""
    # One entry: safetensors writes several in any order, another at every time.
    text = json.dumps([unsealed(kind), header])
    with whole_path(path) as temporary:
        save_file(tensors, temporary, metadata={"header": text})
        seal(temporary, kind)


def _read_tensors(path: Path, kind: str, remedy: str) -> tuple[dict[str, Tensor], Any]:
    """What `_write_tensors` wrote; a DataError for anything else."""
    verify(path, kind, remedy)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["header"])[1]


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value.contiguous()


def _unflatten(tensors: dict[str, Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = tensor
    return tree
