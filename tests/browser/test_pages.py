"""Both web applications, as a user sees them after a smoke run."""

from collections.abc import Callable
from typing import Any

import pytest
from servers import fetch

from fedmeta.pipeline_registry import COMPARED

pytestmark = pytest.mark.browser

# Shown in Kedro-Viz's graph when everything is folded: SVG texts of its nodes.
LABELS = (
    "return [...document.querySelectorAll('.pipeline-node__text')]"
    ".map(n => n.textContent)"
)
STAGES = {"ingestion", "preparation", "report"}
FIGURES = ("accuracy", "loss", "density", "adaptation", "overhead")
CHARTS = "machine_learning&compareRunsMode=CHART"  # of MLflow's page of runs


@pytest.fixture(autouse=True)
def browser_first(browser: Any) -> None:
    """Without a browser nothing else need be started."""


def test_graph_shows_a_box_a_stage_and_algorithm(
    browser: Any, viz: str, see: Callable[..., Any]
) -> None:
    browser.get(f"{viz}/?pid=femnist_fedmeta")
    see(f"{LABELS}.includes('ingestion')")
    labels = set(browser.execute_script(LABELS))
    assert labels >= STAGES | set(COMPARED)
    assert not {label for label in labels if label.startswith("params:")}
    assert "train" not in labels  # folded


def test_every_box_of_the_graph_opens(viz: str) -> None:
    """No request fails, and the code of every node is shown."""
    nodes = fetch(f"{viz}/api/pipelines/femnist_fedmeta")["nodes"]
    details = {
        (node["type"], node["name"]): fetch(f"{viz}/api/nodes/{node['id']}")
        for node in nodes
        if node["type"] != "modularPipeline"
    }
    assert {kind for kind, _ in details} == {"task", "data", "parameters"}
    for (kind, name), shown in details.items():
        assert kind != "task" or "def " in shown["code"], name
    divided = details["data", "femnist.support_query"]["preview"]
    assert divided["columns"] == ["client_id", "num_support", "num_query", "order"]


@pytest.mark.parametrize("figure", FIGURES)
def test_graph_previews_figures(
    figure: str, browser: Any, viz: str, see: Callable[..., Any]
) -> None:
    node = node_id(viz, f"femnist.report.{figure}_figure")
    browser.get(f"{viz}/?pid=femnist_fedmeta&sid={node}")
    width = see(
        "const i = document.querySelector('.pipeline-metadata__plot img,"
        " .pipeline-metadata img'); return i && i.complete && i.naturalWidth"
    )
    assert width > 300


def test_graph_previews_tables(browser: Any, viz: str, see: Callable[..., Any]) -> None:
    node = node_id(viz, "femnist.maml.scores")
    browser.get(f"{viz}/?pid=femnist_fedmeta&sid={node}")
    assert "accuracy_sum_after" in see(
        "const t = document.querySelector('.pipeline-metadata table');"
        " return t && t.innerText"
    )


def test_runs_are_named_for_their_algorithm(
    browser: Any, mlflow_ui: str, see: Callable[..., Any]
) -> None:
    browser.get(runs_page(mlflow_ui))
    for name in COMPARED:
        see(f"return document.body.innerText.includes('{name} p0.2 s0')")
    see("return document.body.innerText.includes('synthetic')")


def test_curves_lie_over_one_another_and_results_are_bars(
    browser: Any, mlflow_ui: str, see: Callable[..., Any]
) -> None:
    browser.get(runs_page(mlflow_ui))
    # Charts are drawn as they come into view.
    lines = see(
        "return Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')]"
        ".map(p => p.querySelectorAll('.scatterlayer .trace').length))"
    )
    assert lines >= len(COMPARED)
    see(
        "const title = [...document.querySelectorAll('*')].find("
        "e => e.children.length == 0 && e.textContent.trim() == 'test');"
        " if (title) title.scrollIntoView();"
        " return document.querySelectorAll('.barlayer .point').length"
        f" >= {len(COMPARED)}"
    )


def node_id(viz: str, dataset: str) -> str:
    nodes = fetch(f"{viz}/api/main")["nodes"]
    return next(node["id"] for node in nodes if node["name"] == dataset)


def runs_page(mlflow_ui: str) -> str:
    experiments = fetch(
        f"{mlflow_ui}/ajax-api/2.0/mlflow/experiments/search", {"max_results": 10}
    )["experiments"]
    (number,) = (
        e["experiment_id"] for e in experiments if e["name"].startswith("femnist (syn")
    )
    return f"{mlflow_ui}/#/experiments/{number}/runs?workflowType={CHARTS}"
