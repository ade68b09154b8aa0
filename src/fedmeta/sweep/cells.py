"""A cell of a sweep: what it reads and writes, what makes it itself, its record."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from kedro.framework.project import settings
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Pipeline

import fedmeta
from fedmeta.data.files import whole_path
from fedmeta.session import Session, store_of
from fedmeta.sweep.grid import Given, nested, typed

PARAMETERS = "params:"  # how Kedro marks them among the inputs of nodes
IN_MEMORY = {"{default}": {"type": "kedro.io.MemoryDataset"}}  # what is no entry


class Cell(NamedTuple):
    """One run of the pipeline, with the configuration that it will find."""

    project: Path
    number: int  # from 1
    given: Given
    parameters: dict[str, Any]  # that the pipeline reads, by name
    entries: dict[str, dict[str, Any]]  # dataset -> its catalog entry
    store: str  # the folder under data/*

    @property
    def home(self) -> Path:
        """Of the records of sweeps."""
        return self.project / "data" / "08_reporting" / self.store / "sweeps"

    def files(self, names: Iterable[str]) -> dict[str, Path]:
        """Where datasets are kept, for those that are."""
        places = {name: self.entries[name].get("filepath") for name in names}
        return {name: self.project / path for name, path in places.items() if path}


def read_cells(
    project: Path, pipeline: Pipeline, env: str | None, grid: Iterable[Given]
) -> list[Cell]:
    """The configuration of every cell.

    Raises:
        ValueError: for a parameter that there is not, as hooks find it.
    """
    cells, loader = [], None
    for number, given in enumerate(grid, start=1):
        if loader is None:  # all cells have the same names: once is enough
            session = Session.create(project, env=env, runtime_params=nested(given))
            loader = session.load_context().config_loader
        else:
            loader = settings.CONFIG_LOADER_CLASS(
                conf_source=loader.conf_source,
                env=loader.env,
                runtime_params=nested(given),
                **settings.CONFIG_LOADER_ARGS,
            )
        # All of it now: the next loader takes over the resolvers, which are global.
        read, entries = _read(loader, pipeline)
        cells.append(Cell(project, number, given, read, entries, store_of(loader)))
    return cells


def _read(
    loader: Any, pipeline: Pipeline
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The parameters and the catalog entries of a pipeline."""
    parameters = loader["parameters"]
    catalog = CatalogConfigResolver(loader["catalog"], None, IN_MEMORY)
    read: dict[str, Any] = {}
    entries: dict[str, dict[str, Any]] = {}
    for name in sorted(pipeline.datasets()):
        if name.startswith(PARAMETERS):
            value = _lookup(parameters, name.removeprefix(PARAMETERS))
            # Who else is watched decides nothing of a cell's results.
            read[name] = typed(value) if isinstance(value, dict) else value
        elif name == "parameters":
            read[name] = parameters
        else:
            entries[name] = {**catalog.resolve_pattern(name)}
            entries[name].pop("metadata", None)  # it is for viewers
    return read, entries


def _lookup(tree: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


@cache
def code_version() -> str:
    """A hash of the package's files, as they were when this process first asked.

    Not a commit: what runs is what stands in the files, committed or not.
    """
    root = Path(fedmeta.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root)}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def identity(
    cell: Cell, pipeline: str, env: str | None, data: Mapping[str, str]
) -> dict[str, Any]:
    """What a cell's results depend on.

    Parameters and catalog count as they are once files, environment and what was given
    are merged: a comment, or another benchmark's options, make no other cell.

    Args:
        cell: with its configuration.
        pipeline: its name.
        env: its configuration environment.
        data: checksum of the records of each benchmark.
    """
    return {
        "pipeline": pipeline,
        "env": env or settings.CONFIG_LOADER_ARGS["default_run_env"],
        "parameters": cell.parameters,
        "catalog": cell.entries,
        "data": dict(data),
        "code": code_version(),
    }


def record_path(cell: Cell, identity: Mapping[str, Any]) -> Path:
    """Where a cell says that it is finished: a file each, so that none collide."""
    text = json.dumps(identity, sort_keys=True, default=str)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cell.home / f"{name}.json"


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a finished cell, or None."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # none, or none that can be read
        return None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, whole or not at all."""
    with whole_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, default=str))
