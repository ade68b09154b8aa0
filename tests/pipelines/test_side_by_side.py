"""Nodes that set results side by side refuse those of other settings than the rest."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.pipeline import Node

from fedmeta.datasets import ResultDataset
from fedmeta.pipeline_registry import register_pipelines
from fedmeta.pipelines.reporting import AGAIN

RECORDS = SimpleNamespace(checksum="1", synthetic=True, stands_in="")
SETTINGS = {"data.records": "1", "code.core.model": "1", "training.seed": 0}
NODES = {n.name: n for p in register_pipelines().values() for n in p.nodes}


@pytest.fixture(scope="module")
def catalog(project) -> DataCatalog:
    bootstrap_project(project)
    return KedroSession.create(project, env="smoke").load_context().catalog


@pytest.fixture(scope="module")
def comparing(catalog) -> dict[str, list[str]]:
    """Nodes that read several results, with their names."""
    found = {
        name: [
            dataset
            for dataset in node.inputs
            if not dataset.startswith("params:")
            and (
                isinstance(catalog.get(dataset), ResultDataset)
                or dataset.endswith(".validation_scores")  # as Parquet
            )
        ]
        for name, node in NODES.items()
    }
    return {name: results for name, results in found.items() if len(results) > 1}


def made_with(**changed: Any) -> pd.DataFrame:
    table = pd.DataFrame()
    table.attrs["settings"] = {**SETTINGS, **changed}
    return table


def told(node: Node, catalog: DataCatalog, results: dict[str, pd.DataFrame]) -> str:
    """What a node says of results without any row, which some cannot do without."""
    given = {
        name: catalog.load(name)
        if name.startswith("params:")
        else RECORDS
        if name.endswith(".records")
        else made_with()
        if name.endswith((".report.results", ".report.histories"))
        else MagicMock()
        for name in node.inputs
    }
    try:
        node.run(given | results)
    except Exception as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (made_with(**{"training.seed": 3}), "training.seed=3"),
        (made_with(**{"code.core.model": "2"}), "other code (core/model.py)"),
        (made_with(**{"data.records": "2"}), "other data (records)"),
        (pd.DataFrame(), "does not say what it was made with"),
        (made_with(), None),
    ],
    ids=["options", "code", "data", "unknown", "the same"],
)
def test_results_of_other_settings_are_refused(comparing, catalog, odd, words):
    for name, results in comparing.items():
        alike = {result: made_with() for result in results}
        for result in results:
            said = told(NODES[name], catalog, {**alike, result: odd})
            if words is None:
                assert AGAIN not in said, (name, result)
            else:
                assert words in said and said.endswith(AGAIN), (name, result, said)
                assert "\n" not in said


def test_every_report_compares(comparing):
    """Not in vain: each pipeline with a report has such a node."""
    assert {
        pipeline
        for pipeline, graph in register_pipelines().items()
        if not comparing.keys() & {node.name for node in graph.nodes}
    } == {
        name
        for name, graph in register_pipelines().items()
        if not any(".report." in output for output in graph.outputs())
    }
