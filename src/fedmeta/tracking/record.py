"""Records: everything MLflow is told of a run, kept beside the run's results.

MLflow holds copies of records, so that whatever it lacks or loses is logged from them
again. A record is a folder ``runs/<algorithm>-<fingerprint>-<rounds>`` with run.json
and copies of the run's files, which stay when a run with other settings replaces them.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fedmeta.data.cells import read_table
from fedmeta.data.errors import DataError
from fedmeta.data.files import file_sha256, whole_path

RECORDS = "runs"  # the folder of records, beside the results
FILE = "run.json"
REPORTED = "runs"  # tag of a report: the folders of the runs that it compares
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
# Tags that are removed when a run is resumed.
ENDINGS = ("error", "diverged", "not_finite")


def milliseconds() -> int:
    """Return the time as MLflow counts it."""
    return int(time.time() * 1000)


@dataclass
class Record:
    """One run of one algorithm."""

    folder: Path
    experiment: str
    name: str
    note: str = ""  # of the experiment
    status: str = RUNNING
    began: int = field(default_factory=milliseconds)
    ended: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)  # of rounds and of the scores
    files: dict[str, str] = field(default_factory=dict)  # path in the folder -> SHA-256
    tables: dict[str, str] = field(default_factory=dict)  # "history", "scores" -> file
    checkpoint: str = ""  # what was learned; relative to the project
    codebook: str = ""  # what its model reads records by; relative to the project
    data: dict[str, str] = field(default_factory=dict)  # metadata of the data
    # Data sets, by name: digest, source, profile and context, as in `mlflow.data`.
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    guard: str = ""  # algorithm whose lock guards the record; "": its own

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Return the record in a folder.

        Raises:
            DataError: for a run.json that is not one.
        """
        try:
            return cls(folder, **json.loads((folder / FILE).read_text()))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{folder / FILE}: not the record of a run ({error}); move this folder"
                " away and run the pipeline again, which makes it from what is finished"
            ) from None

    def write(self) -> None:
        """Write run.json, whole or not at all."""
        with whole_path(self.folder / FILE) as temporary:
            temporary.write_text(self._text())

    @property
    def digest(self) -> str:
        """A hash of all there is in the record."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    @property
    def lock(self) -> Path:
        """The lock of whoever runs this algorithm here: `fedmeta.turns`."""
        return self.folder.parent / f"{self.guard or self.tags['algorithm']}.lock"

    def keep(self, source: Path, under: str = "") -> None:
        """Copy a file into the record."""
        name = f"{under}/{source.name}" if under else source.name
        with whole_path(self.folder / name) as copy:
            shutil.copyfile(source, copy)
        self.files[name] = file_sha256(self.folder / name)

    def keep_table(self, kind: str, source: Path, moments: list[str]) -> None:
        """Copy a table, with what is kept beside it, and note when its parts came."""
        self.keep(source)
        beside = source.with_suffix(".json")
        if beside.is_file():
            self.keep(beside)
        # Last: after a stop before it, the record has no table, and it is copied again.
        self.tables[kind] = source.name
        self.times |= dict.fromkeys(moments, milliseconds()) | self.times

    def table(self, kind: str) -> pd.DataFrame | None:
        """Return the "history" or the "scores", or None where there are none yet."""
        path = self.folder / self.tables.get(kind, "")
        return read_table(path) if path.is_file() else None

    def timing(self) -> list[dict[str, float]]:
        """Return the seconds of the training: `fedmeta.pipelines.progress.Clock.at`.

        Empty where they are not known from round 0 on.
        """
        path = self.folder / self.tables.get("history", "")
        try:
            rows = json.loads(path.with_suffix(".json").read_text()).get("timing", [])
        except (OSError, ValueError):  # no history, or nothing beside it
            return []
        return rows if rows and rows[0]["round"] == 0 else []

    def resume(self, tags: dict[str, str], parameters: dict[str, str]) -> None:
        """Resume the run; a finished one stays as it is.

        A parameter keeps its first value: only one that does not change results, such
        as the device, can have another.
        """
        if self.status == FINISHED:
            return
        kept = {k: v for k, v in self.tags.items() if k not in ENDINGS}
        self.tags = {**kept, **tags}
        self.parameters = {**parameters, **self.parameters}
        self.status, self.ended = RUNNING, None

    def end(self, status: str, error: str = "", when: int | None = None) -> None:
        """End the run, unless it has ended before.

        It has lasted as long as its training, where that is known: neither waiting for
        other algorithms nor a night between two halves is part of it.
        """
        if self.status != RUNNING:
            return
        timing = self.timing()
        trained = self.began + spent(timing) if timing else None
        self.status, self.ended = status, trained or when or milliseconds()
        if error:
            self.tags["error"] = error[:5000]

    def end_lost(self) -> bool:
        """End a run whose process is gone; return whether it had not ended."""
        if self.status != RUNNING:
            return False
        last = max([self.began, *self.times.values()])
        self.end(KILLED, "ended without notice: killed, or the machine stopped", last)
        self.write()
        return True

    def agrees(self, history: pd.DataFrame | None) -> bool:
        """Whether a history, if any, agrees with the record's in common rounds."""
        held = self.table("history")
        if held is None or history is None:
            return True
        held, other = held.set_index("round"), history.set_index("round")
        rounds = held.index.intersection(other.index)
        columns = held.columns.intersection(other.columns)
        return len(rounds) == min(len(held), len(other)) and np.array_equal(
            held.loc[rounds, columns].to_numpy(float),
            other.loc[rounds, columns].to_numpy(float),
            equal_nan=True,
        )

    def _text(self) -> str:
        held = {k: v for k, v in asdict(self).items() if k != "folder"}
        return json.dumps(held, indent=1)


def find(
    base: Path, experiment: str, history: pd.DataFrame | None
) -> tuple[Path, Record | None]:
    """Return the folder of a run, and its record if the run has begun before.

    Args:
        base: the folder that the identity of the run names. Where another history has
            been recorded under it, on another machine perhaps, the run is another one,
            and its folder has a number behind.
        experiment: of the run.
        history: what is known of it, if it has one.
    """
    folder, number = base, 1
    while (folder / FILE).is_file():
        record = Record.read(folder)
        if record.experiment == experiment and record.agrees(history):
            return folder, record
        number += 1
        folder = base.with_name(f"{base.name}.{number}")
    return folder, None


def lost_records(home: Path, algorithm: str, but: Path) -> Iterator[Record]:
    """End the runs of an algorithm that have not, and yield them.

    Args:
        home: the folder of records.
        algorithm: whose lock this process has, so that nobody else is at its runs.
        but: the folder of the current run.
    """
    for path in sorted(home.glob(f"{algorithm}-*/{FILE}")):
        record = Record.read(path.parent)
        if path.parent != but and record.end_lost():
            yield record


def records(home: Path) -> Iterator[Path]:
    """The folders of all records below a folder, in order."""
    for path in sorted(home.rglob(f"{RECORDS}/*/{FILE}")):
        yield path.parent


def spent(timing: Sequence[Mapping[str, float]]) -> int:
    """Return the milliseconds of a training until its last evaluated round."""
    return round(1000 * timing[-1]["training"]) if timing else 0
