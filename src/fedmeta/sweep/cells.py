"""A cell of a sweep: what it reads and writes, what makes it itself, its record."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.framework.project import settings
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Pipeline

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.configuration import (
    PARAMETERS,
    Source,
    check_paths,
    globals_of,
    store_of,
    value_of,
)
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.estimates import read_json
from fedmeta.identity import Settings
from fedmeta.session import Session
from fedmeta.sweep.grid import CellParams, nested

IN_MEMORY = {"{default}": {"type": "kedro.io.MemoryDataset"}}  # what is no entry


@dataclass
class Cell:
    """One run of the pipeline, with the configuration that it will find."""

    project: Path
    number: int  # from 1
    given: CellParams
    parameters: dict[str, Any]  # that the pipeline reads, by name
    entries: dict[str, dict[str, Any]]  # dataset -> its catalog entry
    store: str  # the folder under data/*
    # files that it writes, beside those of the data part
    results: set[Path] = field(default_factory=set)
    # that determine its results; empty until its data are known
    settings: Settings = field(default_factory=dict)
    error: str = ""  # why it failed, or cannot run

    @property
    def home(self) -> Path:
        """Of the records of sweeps."""
        return self.project / "data" / "08_reporting" / self.store / "sweeps"

    @property
    def record_path(self) -> Path:
        """Path of the file that marks the cell as finished."""
        return self.home / f"{identity.fingerprint(self.settings)[:16]}.json"

    def record(self) -> dict[str, Any]:
        """The record of the cell; empty unless it has finished before."""
        return read_json(self.record_path) if self.settings else {}

    def is_finished(self) -> bool:
        """Whether its record and all its results exist."""
        written = all(path.exists() for path in self.results)
        return written and bool(self.record())

    def files(self, names: Iterable[str]) -> dict[str, Path]:
        """Where datasets are kept, for those that are."""
        places = {name: self.entries[name].get("filepath") for name in names}
        return {name: self.project / path for name, path in places.items() if path}


def read_cells(
    project: Path, pipeline: Pipeline, source: Source, grid: Iterable[CellParams]
) -> list[Cell]:
    """Read the configuration of every cell.

    Raises:
        ValueError: for a parameter that there is not, as hooks find it, or one that
            contradicts the name of a cell's folders.
    """
    cells, loader = [], None
    for number, given in enumerate(grid, start=1):
        own = {"runtime_params": nested(given)}
        if loader is None:  # all cells have the same names: once is enough
            session = Session.create(project, **source._asdict(), **own)
            loader = session.load_context().config_loader
        else:
            own |= {"conf_source": loader.conf_source, "env": loader.env}
            made = settings.CONFIG_LOADER_CLASS
            loader = made(**own, **settings.CONFIG_LOADER_ARGS)
        # All of it now: the next loader takes over the resolvers, which are global.
        read, entries = _read(loader, pipeline)
        blocks = {name.removeprefix(PARAMETERS): block for name, block in read.items()}
        check_paths(blocks, globals_of(loader))
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
            read[name] = value_of(parameters, name.removeprefix(PARAMETERS))
        elif name == "parameters":
            read[name] = parameters
        else:
            entries[name] = {**catalog.resolve_pattern(name)}
            entries[name].pop("metadata", None)  # it is for viewers
    return read, entries


def code_of(pipeline: Pipeline) -> Settings:
    """Hashes of the code that computes a pipeline's results."""
    functions = [f for node in pipeline.nodes for f in _functions(node.func)]
    return identity.code(*functions)


def _functions(node: Any) -> Iterator[Any]:
    """Yield the functions that a node calls."""
    yield node
    for value in getattr(node, "keywords", {}).values():
        if isinstance(value, Benchmark):
            # Its records have a checksum, however they were parsed.
            yield from (value.select_clients, value.labels, value.codebook)
            yield from (value.encoding, value.model)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name in ALGORITHMS:
                yield ALGORITHMS[name].factory


def settings_of(
    cell: Cell, pipeline: str, data: Mapping[str, str | None], code: Settings
) -> Settings:
    """Settings that determine a cell's results.

    Parameters count as they are once files, environment and what was given are merged:
    a comment, or another benchmark's options, make no other cell. Nor does where raw
    files lie, since records have a checksum.

    Args:
        data: checksum of the records of each benchmark.
        code: that of the pipeline: `code_of`.
    """
    blocks = {
        name.removeprefix(PARAMETERS): block
        for name, block in cell.parameters.items()
        if not name.endswith(".raw")
    }
    return {
        "pipeline": pipeline,
        **identity.settings(**blocks),
        **{f"data.{name}": checksum for name, checksum in data.items()},
        **code,
    }


def all_records(cell: Cell) -> Iterator[Settings]:
    """Yield settings of all finished cells; empty if recorded by an earlier version."""
    for path in sorted(cell.home.glob("*.json")):
        if record := read_json(path):
            yield record.get("settings", {})
