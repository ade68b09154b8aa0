"""The commands of the README and the docs, typed in one project, page by page.

Data, networks and grids are small there, and rounds few. What a comment before a block
says to run elsewhere, or not at all, is left out. The how-to pages are in a module of
their own, test_typed_how_to, for another process: who reads one has typed the README's
first commands.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf
from test_docs import PAGES, ROOT, Block, blocks
from zygotes import Zygote

from fedmeta.benchmarks.registry import BENCHMARKS

OWN_DATA = ROOT / "docs/how-to/own-data.md"
RECOMMEND = ROOT / "docs/how-to/recommend.md"
ENVIRONMENT = re.compile(r"`(conf/own/\S+)`.*?```yaml\n(.*?)```", re.S)
# Targets must be there, and `.ci/run` makes them; packages must be those of an extra.
FUNCTIONS = f"""
set -euo pipefail
make() {{ command make --dry-run --directory {ROOT} "$@" > /dev/null; }}
pip() {{ {sys.executable} -m pip show --quiet "$2"; }}
"""
SMALLER = {
    r"training\.rounds=\d+": "training.rounds=4",
    r"clients_per_round=\d+": "clients_per_round=2",
    r"=([\d.]+,[\d.]+)(,[\d.]+)+": r"=\1",  # two values of an axis
}
ALL = [block for page in PAGES for block in blocks(page)]
TYPED_BEFORE = (
    "kedro run --pipeline femnist_fedmeta",
    "kedro run --pipeline femnist_fedmeta --env tuned",
)


def small(conf: Path) -> None:
    """Give all environments the sizes of conf/smoke; data that are given stay."""
    sizes = sizes_of(conf)
    for path in conf.glob("*/parameters_*.yml"):
        held = OmegaConf.load(path)
        for name in sizes.keys() & held.keys():
            new = OmegaConf.to_container(sizes[name])
            if OmegaConf.select(held, f"{name}.raw.sample") is None:
                new.pop("raw", None)
            held[name] = OmegaConf.merge(held[name], new)
        OmegaConf.save(held, path)


def sizes_of(conf: Path) -> DictConfig:
    paths = (conf / "smoke").glob("parameters_*.yml")
    return OmegaConf.merge(*map(OmegaConf.load, paths))


def real_files(folder: Path) -> None:
    """What takes the place of real data: samples that do not say what they are."""
    sizes, raw = sizes_of(folder / "conf"), folder / "data/01_raw"
    sizes.femnist.raw.sample.writers = 60  # LEAF's split draws some of them

    def drawn(name: str) -> Path:
        options = OmegaConf.to_container(sizes[name].raw.sample)
        (path,) = BENCHMARKS[name].write_sample(raw / name, **options)
        return path

    leaf = drawn("femnist")
    leaf.write_text(json.dumps({**json.loads(leaf.read_text()), "synthetic": ""}))
    text = drawn("shakespeare")
    text.write_text(text.read_text().partition("\n")[2])
    tweets = drawn("sent140")
    tweets.write_text(tweets.read_text().replace("SYNTHETIC", "NO_QUERY"))
    words = sorted({*re.findall("[a-z]+", tweets.read_text().lower())})
    lines = "".join(f"{word}{' 0.5' * 8}\n" for word in words)
    (raw / "sent140/glove.6B.300d.txt").write_text(lines)
    visits = drawn("recommendation")
    log = pd.read_parquet(visits)
    log["user"] = [f"u{user}" for user in log["user"]]
    log["app_type"] = log["category"]
    log[["app", "user_id", "opened_at"]] = log[["service", "user", "time"]]
    log.to_parquet(visits, index=False)
    for own in (raw / "own", folder / "inputs/log"):
        shutil.copytree(raw / "recommendation", own)
    for name, file in (("leaf", leaf), ("reviews", tweets)):
        shutil.copytree(file.parent, folder / "inputs" / name)
    mine = log[log["user"] == log["user"].iloc[0]]
    mine.to_csv(folder / "my_log.csv", index=False)
    to_come = mine.tail(1).assign(service=None, app=None)
    pd.concat([mine, to_come]).to_json(
        folder / "own_log.json", orient="records", date_format="iso"
    )


def own_tables(folder: Path) -> None:
    """The tables that pages call the reader's own."""
    rows = BENCHMARKS["femnist"].table_form.example({})
    rows.to_csv(folder / "own.csv", index=False)
    rows.to_parquet(folder / "own.parquet", index=False)
    users = [f"user {n % 20}" for n in range(400)]
    table = pd.DataFrame({"user": users, "x": range(400)})
    table.assign(y=table["x"] % 2).to_parquet(folder / "my.parquet", index=False)
    script = "".join(re.findall(r"```python\n(.*?)```", OWN_DATA.read_text(), re.S))
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)


class Shell:
    """Runs the lines of blocks in a project; servers that they begin go on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.zygote = folder, Zygote()
        self.typed: set[str] = set()
        self.servers: list[subprocess.Popen] = []
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.surroundings = {**os.environ, "PATH": path}

    def type(self, line: str) -> None:
        # What is typed again, on another page, goes on from results that are there.
        if line in self.typed and line.startswith(("kedro run", "kedro sweep", "dask")):
            return
        self.typed.add(line)
        words = shlex.split(line)
        if words[0] == "dask":
            self.servers.append(subprocess.Popen(words, env=self.surroundings))
            return
        if words[0] == "kedro":  # without 3 s of imports
            log = self.folder / "log"
            log.unlink(missing_ok=True)
            code, said = self.zygote.run(self.folder, words[1:]), log.read_text()
        else:
            done = subprocess.run(
                ["bash", "-c", FUNCTIONS + line],
                cwd=self.folder,
                env=self.surroundings,
                capture_output=True,
                text=True,
                check=False,
            )
            code, said = done.returncode, done.stdout + done.stderr
        assert code == 0, f"{line}\n{said[-4000:]}"

    def close(self) -> None:
        self.zygote.close()
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            server.wait(60)


@pytest.fixture(scope="module")
def shell(new_project) -> Iterator[Shell]:
    """In a project of small data."""
    folder = new_project()
    real_files(folder)
    small(folder / "conf")
    own_tables(folder)
    (folder / ".venv").symlink_to(sys.prefix)
    for name, text in ENVIRONMENT.findall(RECOMMEND.read_text()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    opened = Shell(folder)
    for line in TYPED_BEFORE:
        opened.type(line)
    yield opened
    opened.close()


def of_pages(how_to: bool) -> list:
    """Blocks to run, of the how-to pages or of all others."""
    return [
        pytest.param(block, id=f"{block.page.name}: {block.lines[0]}")
        for block in ALL
        if not block.how and (block.page.parent.name == "how-to") == how_to
    ]


def run_block(shell: Shell, block: Block) -> None:
    for line in block.lines:
        for words, ours in (
            (" /tmp/", f" {shell.folder}/"),
            ("=/data/", f"={shell.folder}/inputs/"),
            ("=cuda", "=cpu"),
        ):
            line = line.replace(words, ours)  # noqa: PLW2901
        for pattern, ours in SMALLER.items():
            line = re.sub(pattern, ours, line)  # noqa: PLW2901
        shell.type(line)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # the README's is long
@pytest.mark.parametrize("block", of_pages(how_to=False))
def test_a_block_runs(shell: Shell, block: Block) -> None:
    run_block(shell, block)


def test_what_is_not_run_here_exists() -> None:
    for block in ALL:
        if block.how == "run by":
            assert (ROOT / block.where).is_file(), block
        for line in block.lines:
            words = shlex.split(line)
            if words[0] == "python" and words[1] != "-m":
                code = (ROOT / words[1]).read_text()
                options = re.findall(r'add_argument\(\s*"(--[a-z-]+)"', code)
                assert {w for w in words if w.startswith("--")} <= {*options}, line
            if "--run-config" in words:
                app = tomllib.loads((ROOT / "federation/pyproject.toml").read_text())
                there = app["tool"]["flwr"]["app"]["config"]
                assert {*re.findall(r"(\w+)=", words[-1])} <= there.keys(), line
