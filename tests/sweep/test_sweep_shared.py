"""Data that cells share, and which of them may run at once."""

import copy
from pathlib import Path

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset

from fedmeta.sweep.cells import Cell
from fedmeta.sweep.shared import DataPart, Remaining, data_part, waves

DATA = Pipeline(
    [
        Node(copy.copy, "params:raw", "records", name="pack"),
        Node(
            lambda records, split: {"seed": split["seed"], **records},
            ["records", "params:split"],
            "split",
            name="split",
        ),
    ]
)
WHOLE = DATA + Pipeline([Node(lambda split: split, "split", "scores", name="score")])


def cell(folder: Path, number: int, *, raw=None, **split) -> Cell:
    return Cell(
        project=folder,
        number=number,
        given={},
        parameters={"params:raw": raw or {"n": 1}, "params:split": split},
        entries={
            "records": {"filepath": "records.json"},
            "split": {"filepath": "split.json"},
            "scores": {"filepath": f"scores{number}.json"},
        },
        store="toy",
    )


def catalog_of(cell: Cell) -> DataCatalog:
    files = cell.files(cell.entries)
    datasets = {n: JSONDataset(filepath=str(path)) for n, path in files.items()}
    given = {n: MemoryDataset(value) for n, value in cell.parameters.items()}
    return DataCatalog({**datasets, **given})


def run(cell: Cell, names: list[str]) -> None:
    """As a session would."""
    if names:
        SequentialRunner().run(DATA.filter(node_names=names), catalog_of(cell))


def prepare(data: DataPart, cell: Cell) -> list[str]:
    names = data.stale(cell, data.pipeline)
    data.forget(cell, names)
    run(cell, names)
    data.note(cell, names)
    return names


def test_the_data_part_is_what_is_registered_as_such():
    other = Pipeline([Node(len, "split", "n", name="count")])
    part = data_part(WHOLE, {"toy_data": DATA, "toy_maml": WHOLE, "other_data": other})
    assert {node.name for node in part.nodes} == {"pack", "split"}
    ingestion = DataPart(part).ingestion
    assert {node.name for node in ingestion.nodes} == {"pack"}


def test_nodes_run_once_for_what_is_the_same(tmp_path):
    data = DataPart(DATA)
    assert prepare(data, cell(tmp_path, 1, seed=0, p=0.2)) == ["pack", "split"]
    assert prepare(data, cell(tmp_path, 2, seed=0, p=0.2)) == []
    assert prepare(data, cell(tmp_path, 3, seed=0, p=0.5)) == ["split"]
    # It wrote the same as the first, which needs nothing therefore.
    assert prepare(data, cell(tmp_path, 1, seed=0, p=0.2)) == []
    assert prepare(data, cell(tmp_path, 4, seed=1, p=0.2)) == ["split"]
    assert prepare(data, cell(tmp_path, 1, seed=0, p=0.2)) == ["split"]
    assert prepare(data, cell(tmp_path, 5, raw={"n": 2}, seed=0)) == ["pack", "split"]


def test_what_failed_has_to_run_again(tmp_path):
    data, first = DataPart(DATA), cell(tmp_path, 1, seed=0)
    prepare(data, first)
    data.forget(first, ["split"])
    assert data.stale(first, data.pipeline) == ["split"]


def test_cells_with_other_data_or_the_same_results_wait(tmp_path):
    data = DataPart(DATA)
    cells = [
        cell(tmp_path, 1, seed=0, p=0.2),
        cell(tmp_path, 2, seed=0, p=0.5),  # the same split
        cell(tmp_path, 3, seed=1, p=0.2),  # another
        cell(tmp_path, 4, seed=0, p=0.2),  # the files of the first
    ]
    prepared = []
    for one, result in zip(cells, "abca", strict=True):
        prepare(data, one)
        one.results = {Path(result)}
        prepared.append((one, data.content(one)))
    found = waves(prepared)
    assert [[c.number for c in wave] for wave in found] == [[1, 2], [3], [4]]


def test_hooks_are_told_of_nodes_that_ran_before(tmp_path):
    class Hooks:
        def __init__(self):
            self.saved, self.hook = [], self

        def __getattr__(self, name):
            return lambda **told: None

        def after_dataset_saved(self, dataset_name, data, node):
            self.saved.append((dataset_name, data["n"], node.name))

    only = cell(tmp_path, 1, seed=0)
    run(only, ["pack"])
    hooks = Hooks()
    Remaining(["pack"]).run(WHOLE, catalog_of(only), hooks)
    assert hooks.saved == [
        ("records", 1, "pack"),
        ("split", 1, "split"),
        ("scores", 1, "score"),
    ]
