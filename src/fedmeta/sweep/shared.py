"""The data part of the cells: nodes that many of them share are run once.

Cells write clients, splits and the like to the same files. Two may run at once where
these hold the same for both, whatever their parameters say, and where neither writes
a result that is the other's too.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from pluggy import PluginManager

from fedmeta.data.files import file_sha256
from fedmeta.sweep.cells import Cell


def data_part(pipeline: Pipeline, registered: Mapping[str, Pipeline]) -> Pipeline:
    """The nodes of a pipeline that are those of a registered ``<benchmark>_data``."""
    data = {n for k, v in registered.items() if k.endswith("_data") for n in v.nodes}
    return Pipeline([node for node in pipeline.nodes if node in data])


class DataPart:
    """Content of the data files that this sweep has written."""

    def __init__(self, nodes: Pipeline) -> None:
        self.pipeline = nodes
        outputs = nodes.all_outputs()
        # the packed records of each benchmark, which have a checksum
        self.records = [n for n in outputs if n.rpartition(".")[2] == "records"]
        self.ingestion = nodes.to_outputs(*self.records)
        self._now: dict[Path, str] = {}  # file -> hash of its content
        self._made: dict[str, dict[Path, str]] = {}  # key of a node -> what it wrote

    def stale(self, cell: Cell, among: Pipeline) -> list[str]:
        """Names of the nodes that have to run for the cell."""
        return [n for n, key in self._keys(cell, among).items() if not self._holds(key)]

    def content(self, cell: Cell) -> dict[Path, str]:
        """Hashes of the cell's data files."""
        keys = self._keys(cell, self.pipeline).values()
        return {path: hash_ for key in keys for path, hash_ in self._made[key].items()}

    def note(self, cell: Cell, names: Iterable[str]) -> None:
        """Note that these nodes have run for the cell."""
        keys = self._keys(cell, self.pipeline)
        for name in names:
            self._made[keys[name]] = {
                path: file_sha256(path) if path.is_file() else ""
                for path in self._files(cell, name)
            }
            self._now |= self._made[keys[name]]

    def forget(self, cell: Cell, names: Iterable[str]) -> None:
        """Forget the content of these nodes' outputs: they may be rewritten."""
        for path in chain(*(self._files(cell, name) for name in names)):
            self._now.pop(path, None)

    def _files(self, cell: Cell, node: str) -> Iterable[Path]:
        outputs = self.pipeline.filter(node_names=[node]).all_outputs()
        return cell.files(outputs).values()

    def _holds(self, key: str) -> bool:
        made = self._made.get(key)
        return made is not None and made.items() <= self._now.items()

    def _keys(self, cell: Cell, among: Pipeline) -> dict[str, str]:
        """Hash of each node's inputs and outputs, by name."""
        made: dict[str, str] = {}
        keys: dict[str, str] = {}
        for node in self.pipeline.nodes:  # in the order in which they run
            inputs = [made.get(n) or cell.parameters.get(n) for n in node.inputs]
            outputs = [cell.entries[n] for n in node.outputs]
            text = json.dumps([node.name, inputs, outputs], default=str)
            keys[node.name] = hashlib.sha256(text.encode()).hexdigest()
            made |= dict.fromkeys(node.outputs, keys[node.name])
        return {node.name: keys[node.name] for node in among.nodes}


class Remaining(SequentialRunner):
    """Runs the nodes of a pipeline that have not run before.

    Hooks are told of the outputs of those too, so that a cell is tracked as `kedro run`
    would be.
    """

    _logger = logging.getLogger("kedro.runner")  # as quiet as the others

    def __init__(self, done: Iterable[str]) -> None:
        super().__init__()
        self._done = frozenset(done)

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        for node in pipeline.nodes:
            for name in node.outputs if node.name in self._done else ():
                assert hook_manager is not None  # a session has one
                hook_manager.hook.after_dataset_saved(
                    dataset_name=name, data=catalog.load(name), node=node
                )
        names = [node.name for node in pipeline.nodes if node.name not in self._done]
        if names:
            rest = pipeline.filter(node_names=names)
            super()._run(rest, catalog, hook_manager, run_id)


def waves(cells: Iterable[tuple[Cell, Mapping[Path, str]]]) -> list[list[Cell]]:
    """Group cells into waves; cells of a wave may run at once.

    Args:
        cells: in the order in which they are to run, as far as possible, each with the
            hashes of its data files.
    """
    found: list[list[Cell]] = []
    held: list[tuple[dict[Path, str], set[Path]]] = []  # of each wave
    for cell, data in cells:
        for wave, (there, taken) in zip(found, held, strict=True):
            same = all(there.get(path, hash_) == hash_ for path, hash_ in data.items())
            if same and not cell.results & taken:
                wave.append(cell)
                there.update(data)
                taken.update(cell.results)
                break
        else:
            found.append([cell])
            held.append((dict(data), set(cell.results)))
    return found
