"""What the README and the docs say is so."""

import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from omegaconf import OmegaConf

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A comment before it says what is not run by test_typed_commands.
BLOCK = re.compile(
    r"(?:^ *<!-- (not run|run by): (.+?) -->\n)?^ *```bash\n(.*?)^ *```", re.M | re.S
)
SECTIONS = [
    "About this baseline",
    "Experimental Setup",
    "Environment Setup",
    "Running the Experiments",
    "Expected Results",
]


@cache
def hook() -> Any:
    """What MkDocs calls for every page."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "docs/hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Block(NamedTuple):
    """Commands of a page, as they are typed one after another."""

    page: Path
    lines: list[str]  # without comments
    how: str  # "not run", "run by" or ""
    where: str  # or why


def blocks(page: Path) -> Iterator[Block]:
    for how, where, text in BLOCK.findall(page.read_text()):
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        typed = [line for line in lines if line and not line.startswith("#")]
        yield Block(page, typed, how, where)


def commands(page: Path) -> Iterator[str]:
    for block in blocks(page):
        yield from block.lines


def test_readme_has_every_section_of_the_template() -> None:
    assert re.findall(r"^## (.+)$", PAGES[0].read_text(), re.M)[:5] == SECTIONS


def test_relative_links_of_the_readme() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[0].read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_tables_are_those_of_the_csv_files() -> None:
    text = PAGES[0].read_text()
    for path in re.findall(r"<!-- table: (\S+) -->", text):
        shown = f"<!-- table: {path} -->\n\n{hook().table(ROOT / path)}\n"
        assert shown in text, f"README.md should show:\n{shown}"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", d)[0] for d in project["dependencies"]]
    explained = re.findall(
        r"^\| ([\w-]+) \|", (ROOT / "docs/design.md").read_text(), re.M
    )
    assert [name for name in names if name not in explained] == []


def test_locks_hold_what_the_project_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = dict(project["optional-dependencies"])
    federation = [*project["dependencies"], *optional.pop("federation")]
    for lock, needs in (
        ("requirements.lock", project["dependencies"]),
        ("requirements-federation.lock", federation),
        ("requirements-dev.lock", sum(optional.values(), [])),
    ):
        locked = set(re.findall(r"^([\w-]+)==", (ROOT / lock).read_text(), re.M))
        names = {re.match(r"[\w-]+", need)[0] for need in needs}
        assert names <= locked, f"{lock}: run `make lock`"


def test_every_locked_file_but_torchs_has_its_hash() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        pins = re.split(r"^(?=[\w-]+==)", (ROOT / lock).read_text(), flags=re.M)[1:]
        bare = [pin.strip() for pin in pins if "--hash=sha256:" not in pin]
        assert all(pin.startswith("torch==") for pin in bare), bare[:3]


def said_by(page: Path, capsys: pytest.CaptureFixture) -> str:
    """What a page's blocks of Python print, which together are a whole program."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        exec(compile(block, page, "exec"), names)
    return capsys.readouterr().out


def test_the_metric_of_the_docs_can_be_judged(capsys) -> None:
    page = ROOT / "docs/how-to/add-a-metric.md"
    assert float(said_by(page, capsys)) == pytest.approx(1 / 62, rel=0.2)


def test_the_network_of_the_docs_is_a_model(capsys) -> None:
    assert "conv" in said_by(ROOT / "docs/how-to/own-network.md", capsys)


def test_training_from_python_learns_what_the_page_says(capsys) -> None:
    page = ROOT / "docs/how-to/from-python.md"
    result = r"(\w+): ([\d.]+)% of the query records of 40"
    found = re.findall(result, said_by(page, capsys))
    told = re.findall(result, page.read_text())
    assert (
        [name for name, _ in found] == [name for name, _ in told] == ["FedAvg", "MAML"]
    )
    for (_, one), (_, other) in zip(found, told, strict=True):
        assert float(one) == pytest.approx(float(other), abs=5)


def test_the_reference_has_every_public_module() -> None:
    """Those of packages come with them."""
    pages = (ROOT / "docs/reference").glob("*.md")
    told = {n for p in pages for n in re.findall(r"^::: (\S+)$", p.read_text(), re.M)}
    there = {f"fedmeta.{p.stem}" for p in (ROOT / "src/fedmeta").glob("[!_]*")}
    assert there - told == set()


def test_pages_fetch_what_the_paper_setting_reads() -> None:
    """The word vectors too, which `make fetch` downloads only if asked to."""
    options = OmegaConf.load(ROOT / "conf/paper/parameters_sent140.yml").sent140
    assert options.encoding.embedding == "glove"
    typed = {line for page in PAGES for line in commands(page)}
    found = [line for line in typed if line.startswith("make fetch DATA=sent140")]
    assert found
    for line in found:
        words = [*shlex.split(line), "--dry-run", f"--directory={ROOT}"]
        told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert "sent140.fetch --glove" in told, line


def test_no_page_links_to_what_the_site_leaves_out() -> None:
    """Such a link is dead, and MkDocs does not warn of it, even if it is strict."""
    text = (ROOT / "mkdocs.yml").read_text()
    excluded = re.search(r"^exclude_docs: \|\n((?:  .*\n)+)", text, re.M)[1].split()
    dead = [
        f"{page.name}: {link}"
        for page in PAGES[1:]
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if any(fnmatch(link.rpartition("/")[2], pattern) for pattern in excluded)
    ]
    assert dead == []


def test_titles_that_the_changelog_names_are_those_of_pages() -> None:
    headings = {
        heading
        for page in PAGES
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    }
    text = " ".join((ROOT / "CHANGELOG.md").read_text().split())
    named = re.findall(r'[Ss]ee "([^"]+)"', text)
    assert named
    assert [title for title in named if title not in headings] == []


def test_folders_of_results_are_those_of_environments() -> None:
    """A store that pages name is one of conf/, or one that they have made."""
    stores = [yaml.safe_load(p.read_text()) for p in ROOT.glob("conf/*/globals.yml")]
    known = {held["store"] for held in stores if "store" in held}
    for page in PAGES:
        text = page.read_text()
        made = set(re.findall(r"store[=:] ?(\w+)", text))
        named = set(re.findall(r"data/0[2-8]_\w+/(\w+)/", text))
        named |= set(re.findall(r"[`\"](\w+)/femnist/", text))
        odd = named - known - made - {"reproduction"}  # of `kedro reproduce`
        assert not odd, page


def test_no_page_has_open_ends() -> None:
    assert [page.name for page in PAGES if "TODO(lead)" in page.read_text()] == []


def test_the_notebook_is_shown_with_what_it_puts_out() -> None:
    """The one that is committed was executed, and its figures are pictures."""
    page = (ROOT / "docs/notebook.md").read_text()
    (path,) = re.findall(r"<!-- notebook: (\S+) -->", page)
    shown = hook().notebook(ROOT / "docs" / path)
    assert shown.startswith("# Explore a finished run")
    assert shown.count("](data:image/png;base64,") == 2
    assert shown.count("<table") == 4
    assert "\x1b" not in shown
    assert str(ROOT) not in shown
