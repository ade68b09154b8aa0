"""What clients keep from round to round: a sealed file for each client and round.

A task reads the newest of the rounds before its own. Rounds that are done again after a
stop write what they wrote before, so that files of later rounds harm nothing, and a
checkpoint needs no more than the rounds of its clients. Nothing is held in memory but
those.
"""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedmeta.core.trees import tree_map
from fedmeta.core.types import ClientId, MakeTask, Params, Task
from fedmeta.data.errors import DataError
from fedmeta.data.ids import Ids
from fedmeta.data.tensors import read_tensors, write_tensors

STATES = "states"  # the end of such a folder's name
KIND, ENDING = "client state", ".safetensors"


class LastRounds:
    """After which round each client's state was kept last.

    Attributes:
        settled: the round of the last checkpoint that is written.

    Args:
        clients: all that may take part.
    """

    def __init__(self, clients: Ids) -> None:
        self._clients = clients
        self._last = np.zeros(len(clients), dtype=np.int64)  # by row; 0: none
        self.settled = 0

    @property
    def rounds(self) -> Tensor:
        """What a checkpoint needs: int64 [n, 2] rows of clients, and last rounds."""
        rows = np.flatnonzero(self._last)
        return torch.from_numpy(np.stack([rows, self._last[rows]], axis=1))

    def of(self, clients: Sequence[ClientId]) -> dict[ClientId, int]:
        """The last rounds of those clients that have one."""
        last = {c: int(self._last[self._clients.row(c)]) for c in clients}
        return {client: number for client, number in last.items() if number}

    def resume(self, rounds: Tensor, settled: int) -> bool:
        """Go on from a checkpoint; return whether all that it needs is there.

        Args:
            rounds: of the checkpoint.
            settled: its round.
        """
        self._last[:] = 0
        self._last[rounds[:, 0].numpy()] = rounds[:, 1].numpy()
        self.settled = settled
        return True

    def clear(self) -> None:
        """Begin from the start."""
        self._last[:] = 0
        self.settled = 0

    def given(self, make_task: MakeTask, initial: Params) -> MakeTask:
        """Tasks with the states of their clients.

        Where these are kept elsewhere, with the initial one: its shape is all that
        counting operations needs.

        Args:
            make_task: tasks without.
            initial: of a client that has not taken part.
        """
        return lambda client, number: make_task(client, number)._replace(state=initial)

    def keep(self, client: ClientId, number: int, state: Params) -> None:
        """Note that a client keeps a state after a round, and store it."""
        self._last[self._clients.row(client)] = number

    def settle(self, number: int) -> None:
        """A checkpoint after this round is written."""
        self.settled = number


class ClientStates(LastRounds):
    """States of a training's clients, in a folder.

    Args:
        folder: of this training alone.
        clients: all that may take part.
    """

    def __init__(self, folder: Path, clients: Ids) -> None:
        super().__init__(clients)
        self._folder = folder

    def resume(self, rounds: Tensor, settled: int) -> bool:
        super().resume(rounds, settled)
        needed = rounds.tolist()
        return all(_file(self._folder, *pair).is_file() for pair in needed)

    def clear(self) -> None:
        super().clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def given(self, make_task: MakeTask, initial: Params) -> MakeTask:
        token = uuid.uuid4().hex
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "token").write_text(token)
        place = self._folder.absolute()
        return _WithState(make_task, place, self._clients, initial, token)

    def given_after(
        self, make_task: MakeTask, initial: Params, last: Mapping[ClientId, int]
    ) -> MakeTask:
        """Tasks with the states after the rounds that another process counts.

        What clients have kept after later rounds is removed: these are done again, or
        their results were lost.

        Args:
            make_task: tasks without.
            initial: of a client that has no such round.
            last: client -> its round.
        """

        def state(client: ClientId) -> Params:
            row, wanted = self._clients.row(client), last.get(client, 0)
            kept = _rounds(self._folder / str(row))
            for void in [n for n in kept if n > wanted]:
                _file(self._folder, row, void).unlink()
            if not wanted:
                return initial
            if wanted not in kept:
                raise DataError(
                    f"{self._folder}: what client {client} has kept after round"
                    f" {wanted} is not there; bring the folder back, or train from the"
                    " start: move the server's checkpoint away"
                )
            return _read(_file(self._folder, row, wanted))

        def task(client: ClientId, number: int) -> Task:
            return make_task(client, number)._replace(state=state(client))

        return task

    def keep(self, client: ClientId, number: int, state: Params) -> None:
        row = self._clients.row(client)
        path = _file(self._folder, row, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: leaf.cpu().contiguous() for name, leaf in state.items()}
        write_tensors(path, KIND, tensors, {})
        super().keep(client, number, state)
        # Of what the last checkpoint that is written covers, the newest alone.
        for old in [n for n in _rounds(path.parent) if n <= self.settled][:-1]:
            _file(self._folder, row, old).unlink()


@dataclass(frozen=True)
class _WithState:
    """A maker of tasks, in whichever process."""

    make_task: MakeTask
    folder: Path
    clients: Ids
    initial: Params
    token: str  # that the folder has

    def __call__(self, client: ClientId, number: int) -> Task:
        task = self.make_task(client, number)
        device = task.support.y.device
        return task._replace(
            state=tree_map(lambda leaf: leaf.to(device), self._state(client, number))
        )

    def _state(self, client: ClientId, number: int) -> Params:
        try:
            same = (self.folder / "token").read_text() == self.token
        except FileNotFoundError:
            same = False
        if not same:
            raise DataError(
                f"{self.folder}: not the folder of what clients keep between rounds,"
                " which is on the machine that runs the training; workers on others"
                " need it on a disk that all share"
            )
        row = self.clients.row(client)
        before = [n for n in _rounds(self.folder / str(row)) if n < number]
        if not before:
            return self.initial
        return _read(_file(self.folder, row, before[-1]))


def _read(path: Path) -> Params:
    return read_tensors(path, KIND, "move its folder away and run again")[0]


def _file(folder: Path, row: int, number: int) -> Path:
    return folder / str(row) / f"{number}{ENDING}"


def _rounds(folder: Path) -> list[int]:
    """Rounds after which a client's state was kept, in order."""
    return sorted(int(path.stem) for path in folder.glob(f"[0-9]*{ENDING}"))
