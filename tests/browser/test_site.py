"""The static site of `kedro viz build`: of every pipeline, before and after a run."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import BIN, ENVIRONMENT, files

from fedmeta.pipeline_registry import register_pipelines

pytestmark = [pytest.mark.browser, pytest.mark.slow]

OPEN = "?pid=femnist_fedmeta&expandAllPipelines=true&types=parameters,nodes,datasets"
NODES = "return [...document.querySelectorAll('.pipeline-node')].map(n => n.dataset.id)"
CLICK = """
const node = document.querySelector(`.pipeline-node[data-id="${arguments[0]}"]`);
node.dispatchEvent(new MouseEvent("click", {bubbles: true, view: window}));
"""
SHOWN = """
const name = document.querySelector(".pipeline-metadata__title");
const preview = document.querySelector(
    "[class*=pipeline-metadata__preview], [class*=pipeline-metadata__plot]"
);
return name && [name.innerText, preview && preview.innerHTML.length];
"""
FAILED = """
return performance.getEntriesByType("resource").filter(r => r.responseStatus >= 400)
    .map(r => r.name)
"""


def built(project: Path) -> Path:
    """The folder of the site."""
    done = subprocess.run(
        [BIN / "kedro", "viz", "build", "--include-previews"],
        cwd=project,
        env={**ENVIRONMENT, "KEDRO_ENV": "smoke"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (project / "build").is_dir(), done.stderr[-3000:]
    return project / "build"


def held(site: Path, name: str) -> Any:
    return json.loads((site / "api" / name).read_text())


@pytest.fixture(scope="module")
def site(project: Path) -> Iterator[tuple[Path, str]]:
    """The folder after a run, and the address that it is served at."""
    folder = built(project)
    with files(folder) as address:
        yield folder, address


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_site_has_every_node_of_every_pipeline(
    after: bool, new_project: Callable[[], Path], request: pytest.FixtureRequest
) -> None:
    site = request.getfixturevalue("site")[0] if after else built(new_project())
    assert set(os.listdir(site / "api" / "pipelines")) == set(register_pipelines())
    for pipeline in register_pipelines():
        graph = held(site, f"pipelines/{pipeline}")
        assert graph["layers"], pipeline
        for node in graph["nodes"]:
            assert node["tags"], node["name"]
            if node["type"] == "modularPipeline":
                continue
            shown = held(site, f"nodes/{node['id']}")
            if node["type"] == "task":
                assert "def " in shown["code"], node["name"]
            if node["type"] == "data":
                assert node["layer"], node["name"]


def test_every_node_opens_and_every_result_is_previewed(
    browser: Any, site: tuple[Path, str], see: Callable[..., Any]
) -> None:
    folder, address = site
    nodes = {
        node["id"]: node
        for node in held(folder, "pipelines/femnist_fedmeta")["nodes"]
        if node["type"] != "modularPipeline"
    }
    browser.get(address + OPEN)
    see(f"return document.querySelectorAll('.pipeline-node').length >= {len(nodes)}")
    # Kedro-Viz itself asks a static site for its newest version, in vain.
    for call in ("clearResourceTimings()", "setResourceTimingBufferSize(999)"):
        browser.execute_script(f"performance.{call}")
    assert set(browser.execute_script(NODES)) >= set(nodes)
    for number, node in nodes.items():
        browser.execute_script(CLICK, number)
        name = node["name"].removeprefix("params:")
        see(f"return (() => {{{SHOWN}}})()?.[0].endsWith({json.dumps(name)})")
        if node.get("layer") == "reporting":
            assert see(f"return (() => {{{SHOWN}}})()?.[1]") > 100, name
    assert browser.execute_script(FAILED) == []
