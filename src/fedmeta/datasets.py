"""Kedro datasets of the project's own artefacts. Every write is atomic.

A file appears under its name only when it is complete, so that neither a full disk nor
Ctrl-C leaves half of one to be taken for whole.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd
from kedro.io import AbstractDataset
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedmeta.core.types import ServerState
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
from fedmeta.data.seal import verify

log = logging.getLogger(__name__)


class PackedSource(NamedTuple):
    """Clients on their way into a packed file."""

    clients: Iterator[ClientRecords]
    metadata: dict[str, str]  # its "source_files" tell whether packing is needed


class PackedDataset(AbstractDataset[PackedSource, FederatedDataset]):
    """The packed records of all clients; not packed again while the raw files stay."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> FederatedDataset:
        return read_packed(self._filepath)

    def save(self, data: PackedSource) -> None:
        if not self._holds(data.metadata["source_files"]):
            write_packed(self._filepath, data.clients, data.metadata)

    def _holds(self, source_files: str) -> bool:
        if not self._exists():
            return False
        try:
            verify(self._filepath, PACKED, "packing it again from the raw files")
        except DataError as error:
            log.warning("%s", error)
            return False
        return read_packed(self._filepath).metadata.get("source_files") == source_files

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class CodebookDataset(AbstractDataset[Codebook, Codebook]):
    """A codebook as safetensors; its note is in the header."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Codebook:
        with (
            _readable(self._filepath, "codebook"),
            safe_open(self._filepath, framework="pt") as file,
        ):
            tables = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Codebook(tables, file.metadata()["note"])

    def save(self, data: Codebook) -> None:
        with whole_path(self._filepath) as temporary:
            save_file(data.tables, temporary, metadata={"note": data.note})

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class Checkpoint(NamedTuple):
    """A training run up to a round: all that going on needs."""

    fingerprint: str  # of the data and options that the training depends on
    state: ServerState
    history: dict[str, pd.DataFrame]  # algorithm -> a row an evaluated round
    rounds: int  # that the run was asked for
    # As the fingerprint, but of what the learned parameters depend on: how clients that
    # only watch are divided is left out. Empty where everything counts.
    shared: str = ""


class CheckpointDataset(AbstractDataset[Checkpoint, Checkpoint]):
    """The newest checkpoint of a training run, as safetensors: no code in it.

    Checkpoints of other options, data or numbers of rounds are kept beside it, a file
    each: going back to those goes on where they ended.
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)  # a link to the newest
        self.metadata = metadata

    def load(self) -> Checkpoint:
        return read_checkpoint(self._filepath)

    def save(self, data: Checkpoint) -> None:
        name = _kept_as(self._filepath, data.fingerprint, str(data.rounds))
        write_checkpoint(self._filepath.with_name(name), data)
        with whole_path(self._filepath) as link:
            link.unlink()
            link.symlink_to(name)

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class EarlierCheckpoints(NamedTuple):
    """What was kept of earlier runs."""

    # (fingerprint, rounds asked for) -> the furthest one, not beyond these rounds
    own: Callable[[str, int], Checkpoint | None]
    # (shared fingerprint, rounds) -> those that are finished, under any division
    alike: Callable[[str, int], Iterator[Checkpoint]]


class EarlierCheckpointsDataset(AbstractDataset[None, EarlierCheckpoints]):
    """What a `CheckpointDataset` at the same path, and beside it, has kept."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> EarlierCheckpoints:
        def own(fingerprint: str, rounds: int) -> Checkpoint | None:
            pattern = _kept_as(self._filepath, fingerprint, "*")
            kept = {
                path: int(_header(path)["round"])
                for path in sorted(self._filepath.parent.glob(pattern))
            }
            usable = [path for path, reached in kept.items() if reached <= rounds]
            return read_checkpoint(max(usable, key=kept.get)) if usable else None

        def alike(shared: str, rounds: int) -> Iterator[Checkpoint]:
            # Runs of one benchmark are folders side by side.
            pattern = f"*/{_kept_as(self._filepath, '*', str(rounds))}"
            for path in sorted(self._filepath.parent.parent.glob(pattern)):
                header = _header(path)
                if (header.get("shared"), header["round"]) == (shared, str(rounds)):
                    yield read_checkpoint(path)

        return EarlierCheckpoints(own, alike)

    def save(self, data: None) -> None:
        raise TypeError("earlier checkpoints are written by the training alone")

    def _exists(self) -> bool:
        return True  # having none is fine

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _kept_as(path: Path, fingerprint: str, rounds: str) -> str:
    return f"{path.stem}-{fingerprint[:12]}-{rounds}.safetensors"


class _Atomic:
    """Mixed into a dataset of one file: it is written beside it and moved there."""

    def save(self, data: Any) -> None:
        path = Path(self._filepath)
        with whole_path(path) as temporary:
            self._filepath = PurePosixPath(temporary)
            try:
                super().save(data)
            finally:
                self._filepath = PurePosixPath(path)


class AtomicCSVDataset(_Atomic, CSVDataset):
    """kedro_datasets.pandas.CSVDataset, written whole or not at all."""


class ResultDataset(AtomicCSVDataset):
    """Results as CSV, with what they are results of (``DataFrame.attrs``) beside them.

    The attributes are JSON values in a file of the same name with the suffix ".json",
    which also holds the SHA-256 of the CSV file that they belong to: neither file can
    be replaced without the other.
    """

    def save(self, data: pd.DataFrame) -> None:
        path = Path(self._filepath)
        with whole_path(path) as table, whole_path(_beside(path)) as origin:
            self._filepath = PurePosixPath(table)
            try:
                # Not this class's own `save`, nor that of its parent: both files appear
                # together, after both are complete.
                CSVDataset.save(self, data)
            finally:
                self._filepath = PurePosixPath(path)
            origin.write_text(json.dumps({"sha256": _sha256(table), **data.attrs}))

    def load(self) -> pd.DataFrame:
        path = Path(self._filepath)
        table = super().load()
        try:
            beside = json.loads(_beside(path).read_text())
        except (OSError, ValueError):
            beside = None
        attributes = dict(beside) if isinstance(beside, dict) else {}
        if attributes.pop("sha256", None) != _sha256(path):
            raise DataError(
                f"{path}: {_beside(path).name} does not say what these results were"
                " made with (edited, or written by an earlier version); run the"
                " pipeline that makes them again: finished trainings are taken over"
            )
        table.attrs = attributes
        return table


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class AtomicParquetDataset(_Atomic, ParquetDataset):
    """kedro_datasets.pandas.ParquetDataset, written whole or not at all."""


class AtomicJSONDataset(_Atomic, JSONDataset):
    """kedro_datasets.json.JSONDataset, written whole or not at all."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    state = checkpoint.state
    header = {
        "fingerprint": checkpoint.fingerprint,
        "round": str(state.round),
        "rounds": str(checkpoint.rounds),
        "shared": checkpoint.shared,
        "history": json.dumps(
            {
                name: frame.to_dict(orient="list")
                for name, frame in checkpoint.history.items()
            }
        ),
    }
    tensors = dict(_flatten({"meta": state.meta, "opt_state": state.opt_state}))
    with whole_path(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: if the file is not one, or is damaged.
    """
    header = _header(path)
    with _readable(path), safe_open(path, framework="pt") as file:
        tree = _unflatten({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        history = {
            name: pd.DataFrame(columns)
            for name, columns in json.loads(header["history"]).items()
        }
        round_number, rounds = int(header["round"]), int(header["rounds"])
        state = ServerState(tree["meta"], tree.get("opt_state", {}), round_number)
        shared = header.get("shared", "")
        return Checkpoint(header["fingerprint"], state, history, rounds, shared)


def _header(path: Path) -> dict[str, str]:
    with _readable(path), safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        missing = {"fingerprint", "round", "rounds", "history"} - header.keys()
        if missing:
            raise KeyError(f"no {', '.join(sorted(missing))} in its header")
        return header


@contextmanager
def _readable(path: Path, what: str = "checkpoint") -> Iterator[None]:
    """Errors of reading a file told in one way."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own kinds
        raise ValueError(
            f"{path}: not a readable {what} ({error}); delete it and run again"
        ) from error


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
