"""What commands that are stopped have left."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedmeta.data.federated import read_packed
from fedmeta.data.files import UNFINISHED
from fedmeta.data.tensors import read_tensors

RECORDS = "records.arrow"  # its header has the times of the raw files
# Times, the run's own number.
OF_THE_MOMENT = re.compile(r"/(run|seconds)\.json$|\.holder$")
MADE_IN_STEPS = ("06_models", "07_model_output")  # whole at any time, but not at once


def files(folder: Path) -> dict[str, Any]:
    """What is under data/, by name: all of its bytes, but for measured seconds."""
    found = (path for path in (folder / "data").rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): _content(path)
        for path in found
        if UNFINISHED not in str(path) and not OF_THE_MOMENT.search(str(path))
    }


def _content(path: Path) -> Any:
    if path.name == RECORDS:
        return read_packed(path).checksum
    if path.name.endswith("_history.json"):
        held = json.loads(path.read_text())
        return json.dumps({**held, "timing": None, "sha256": None})
    if path.suffix == ".safetensors" and "06_models" in path.parts:
        tensors, header = read_tensors(path, "checkpoint", "")
        parts = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        return json.dumps({**header, "timing": None}), tuple(sorted(parts.items()))
    return path.read_bytes()


def unfinished(folder: Path) -> list[Path]:
    return list((folder / "data").rglob(f"*{UNFINISHED}"))


class Tracked(NamedTuple):
    """A run in MLflow."""

    algorithm: str | None
    status: str
    points: list[tuple[str, int, float]]  # metric, round, value
    files: list[str]


def tracked(folder: Path) -> list[Tracked]:
    """All runs of the project's store; none where that is not made yet."""
    try:
        return sorted(_tracked(folder), key=str)
    except sqlite3.OperationalError:
        return []


def _tracked(folder: Path) -> Iterator[Tracked]:
    path = f"file:{folder / 'mlflow.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as store:
        runs = "SELECT run_uuid, status, artifact_uri FROM runs"
        for run, status, artifacts in store.execute(runs).fetchall():
            points = (
                "SELECT key, step, value FROM metrics WHERE run_uuid = ?"
                " AND key NOT LIKE '%seconds%'"
            )
            tag = "SELECT value FROM tags WHERE key = 'algorithm' AND run_uuid = ?"
            place = Path(artifacts.removeprefix("file://"))
            yield Tracked(
                *(store.execute(tag, [run]).fetchone() or (None,)),
                status,
                sorted(store.execute(points, [run]).fetchall()),
                sorted(str(path.relative_to(place)) for path in place.rglob("*.*")),
            )
