"""Checkpoints of trainings: safetensors files that hold no code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedmeta import identity
from fedmeta.core.types import Divergence, MetaParams, ServerState
from fedmeta.data.errors import DataError
from fedmeta.data.states import STATES
from fedmeta.data.tensors import read_header, read_tensors, write_tensors
from fedmeta.identity import ROUNDS, Settings
from fedmeta.late import pd

log = logging.getLogger(__name__)


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
    """The checkpoints of earlier runs."""

    path: Path  # of the newest; the others are beside it

    def own(self, fingerprint: str, rounds: int) -> Checkpoint | None:
        """The furthest one of a training, not beyond the rounds that are asked for.

        Raises:
            DataError: for a damaged one; it says where training starts without it.
        """
        # By the round reached; of equal ones that which knows of a divergence.
        usable: dict[tuple[int, bool], Checkpoint] = {}
        damage: DataError | None = None
        for path in self._beside(fingerprint):
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

    def alike(self, shared: str, rounds: int) -> Iterator[Checkpoint]:
        """Those of a shared fingerprint that are finished, under any division."""
        # Runs of one benchmark are folders side by side.
        pattern = f"*/{kept_as(self.path, '*', str(rounds))}"
        for path in sorted(self.path.parent.parent.glob(pattern)):
            try:
                kept = read_checkpoint(path)
            except DataError as error:  # another run's: this one can do without
                log.warning("%s; this training does not need it", error)
                continue
            if (kept.shared, kept.state.round) == (shared, rounds):
                yield kept

    def others(self) -> Iterator[Settings]:
        """Settings of each, with its rounds; empty for one that cannot be read."""
        for path in self._beside("*"):
            try:
                yield read_checkpoint(path).reached
            except DataError:  # nothing of it is used
                yield {}

    def states(self, fingerprint: str) -> Path:
        """The folder of what a training's clients keep."""
        return self.path.with_name(f"{self.path.stem}-{fingerprint[:12]}-{STATES}")

    def _beside(self, fingerprint: str) -> list[Path]:
        pattern = kept_as(self.path, fingerprint, "*")
        return sorted(self.path.parent.glob(pattern))


def kept_as(path: Path, fingerprint: str, rounds: str) -> str:
    """The name of a checkpoint beside the newest, or a pattern of such names."""
    return f"{path.stem}-{fingerprint[:12]}-{rounds}.safetensors"


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    state = checkpoint.state
    header = {
        "settings": checkpoint.settings,
        "environment": identity.environment(),
        "round": state.round,
        "rounds": checkpoint.rounds,
        "shared": checkpoint.shared,
        "diverged": checkpoint.diverged,
        "averaged": checkpoint.averaged,
        "timing": list(checkpoint.timing),
        "history": {
            name: frame.to_dict(orient="list")
            for name, frame in checkpoint.history.items()
        },
    }
    validation, header["validation"] = _numbered(checkpoint.validation)
    tree = {
        "meta": state.meta,
        "opt_state": state.opt_state,
        "average": checkpoint.average,
        "validation": validation,
        "states": checkpoint.states,
    }
    there = {name: value for name, value in tree.items() if value is not None}
    write_tensors(path, "checkpoint", dict(flatten(there)), header)


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
    found = header.get("diverged")
    return Checkpoint(
        header["settings"],
        ServerState(tree["meta"], tree.get("opt_state", {}), header["round"]),
        {name: pd.DataFrame(held) for name, held in header["history"].items()},
        header["rounds"],
        header["shared"],
        None if found is None else Divergence(*found),
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
    """The tensors of a tree, by their paths."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value.contiguous()


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of what is named by its paths, such as "theta/dense.weight"."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree
