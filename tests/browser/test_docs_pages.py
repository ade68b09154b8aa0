"""The documentation as a browser shows it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import BIN, files

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TASKS = {  # what is searched for -> the page that answers
    "own data": "how-to/own-data/",
    "compare": "how-to/compare-runs/",
    "serve": "how-to/serve/",
    "federate": "how-to/federation/",
    "reproduce": "how-to/reproduce-tables/",
}
FOUND = "return document.querySelector('.md-search-result__item a')?.href"
# Wider than its place: of what the theme lets a reader scroll, and of figures.
TOO_WIDE = """
const parts = ".md-typeset__scrollwrap, .md-content img, .md-content svg, .md-content";
return [...document.querySelectorAll(parts)]
    .filter(e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1)
    .map(e => e.innerText?.slice(0, 80));
"""


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of the built site, and its address."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [BIN / "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with files(folder) as address:
        yield folder, address


@pytest.mark.parametrize("words", TASKS)
def test_the_search_finds_the_page_of_a_task_first(
    words: str, browser: Any, docs: tuple[Path, str], see: Callable[..., Any]
) -> None:
    _, address = docs
    browser.get(f"{address}?q={words.replace(' ', '%20')}")
    assert see(FOUND).partition("?")[0] == address + TASKS[words]


def test_no_table_or_figure_is_wider_than_its_page(
    browser: Any, docs: tuple[Path, str]
) -> None:
    folder, address = docs
    wide = {}
    for page in sorted(folder.rglob("index.html")):
        name = str(page.parent.relative_to(folder))
        if not name.startswith("reference"):  # signatures may be long
            browser.get(f"{address}{name}/")
            if found := browser.execute_script(TOO_WIDE):
                wide[name] = found
    assert wide == {}
