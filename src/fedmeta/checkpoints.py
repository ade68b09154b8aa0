"""Checkpoints of trainings: safetensors files that hold no code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedmeta import identity
from fedmeta.core.types import Divergence, MetaParams, ServerState
from fedmeta.data.errors import DataError
from fedmeta.data.tensors import read_header, read_tensors, write_tensors
from fedmeta.identity import ROUNDS, Settings
from fedmeta.late import pd


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
    # a row an evaluated round: `fedmeta.pipelines.progress.Clock.at`
    timing: Sequence[dict[str, float]] = ()
    # Where clients keep something: `fedmeta.data.states.ClientStates.rounds`
    states: Tensor | None = None

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


class EarlierCheckpoints(NamedTuple):
    """Access to the checkpoints of earlier runs."""

    # (fingerprint, rounds asked for) -> the furthest one, not beyond these rounds
    own: Callable[[str, int], Checkpoint | None]
    # (shared fingerprint, rounds) -> those that are finished, under any division
    alike: Callable[[str, int], Iterator[Checkpoint]]
    # settings of each one, with its rounds; empty: damaged, or of an earlier version
    others: Callable[[], Iterator[Settings]]
    # fingerprint -> the folder of what the training's clients keep
    states: Callable[[str], Path]


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
        "timing": list(checkpoint.timing),
        "history": {name: frame.to_dict(orient="list") for name, frame in histories},
    }
    validation, header["validation"] = _numbered(checkpoint.validation)
    average = {} if checkpoint.average is None else {"average": checkpoint.average}
    tree = {"meta": state.meta, "opt_state": state.opt_state, **average}
    tree |= {"validation": validation}
    if checkpoint.states is not None:
        tree["states"] = checkpoint.states
    tensors = dict(flatten(tree))
    write_tensors(path, "checkpoint", tensors, header)


def read_settings(path: Path) -> Settings:
    """Read what a checkpoint was made with, and nothing else of it.

    Raises:
        DataError: if the file is not one.
    """
    header = read_header(path)
    if not isinstance(header, dict) or not isinstance(header.get("settings"), dict):
        raise DataError(f"{path}: not a checkpoint")
    return header["settings"]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: if the file is not one, is damaged, or of an earlier version.
    """
    if path.is_symlink():  # to the newest: that is the file to name
        path = path.with_name(path.readlink().name)
    remedy = "move it away and run again"
    tensors, header = read_tensors(path, "checkpoint", remedy)
    if "validation" not in header:
        raise DataError(
            f"{path}: written by an earlier version of this project, without the scores"
            f" of validation clients; {remedy}"
        )
    tree = unflatten(tensors)
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
        header.get("timing", ()),
        tree.get("states"),
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


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value.contiguous()


def unflatten(tensors: dict[str, Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, tensor in tensors.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = tensor
    return tree
