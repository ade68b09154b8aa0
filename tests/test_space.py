"""What takes space, and that nothing is removed which a result or a training needs."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock

from fedmeta import identity, space
from fedmeta.checkpoints import Checkpoint
from fedmeta.cli import cli
from fedmeta.core.types import ServerState
from fedmeta.datasets import CheckpointDataset
from fedmeta.tracking.uri import file_uri

RUN = Path("smoke", "femnist", "p0.2_seed0")
HISTORY = {"maml": pd.DataFrame({"round": [0]})}


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """Save a checkpoint as a training does; return its file."""

    def save(name: str = "maml", lr: float = 0.1, old: bool = False) -> Path:
        code = identity.code("core.optimizers")
        if old:
            code["code.core.optimizers"] = "another"
        state = ServerState({"theta": {"w": torch.ones(9)}}, {}, 4)
        settings = {"maml.lr": lr, **code}
        path = tmp_path / space.MODELS / RUN / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        CheckpointDataset(str(path)).save(Checkpoint(settings, state, HISTORY, 4))
        return path.resolve()

    return save


def command(project: Path, *words: str) -> str:
    done = CliRunner().invoke(
        cli, ["space", *words], obj=SimpleNamespace(project_path=project)
    )
    assert done.exit_code == 0, done.output
    return done.output


def test_checkpoints_of_other_code_are_listed_and_then_removed(
    tmp_path: Path, train: Callable[..., Path]
) -> None:
    old, other_options = train(old=True), train(lr=0.2)
    newest = train()
    told = command(tmp_path)
    assert (
        f"{old.stat().st_size:,}  {old.relative_to(tmp_path)}: made with other" in told
    )
    assert "core/optimizers.py" in told
    assert f"{old.stat().st_size:,}  bytes to be removed by" in told
    assert old.exists()  # it was only listed

    assert "bytes removed" in command(tmp_path, "--remove")
    assert not old.exists()
    # An environment may have these options: its training resumes from it.
    assert other_options.exists() and newest.exists()
    assert "Nothing is replaced." in command(tmp_path)


def test_the_newest_stays_whatever_made_it(
    tmp_path: Path, train: Callable[..., Path]
) -> None:
    """Scores and `kedro recommend` are of it."""
    train(), train("maml_extra")
    newest = train(old=True)
    assert not list(space.replaced(tmp_path))
    assert newest.exists()


def test_what_cannot_be_read_stays(tmp_path: Path, train: Callable[..., Path]) -> None:
    damaged = train(old=True)
    damaged.write_bytes(damaged.read_bytes()[:20])
    train()
    assert not list(space.replaced(tmp_path))


def test_what_clients_keep_goes_with_the_last_checkpoint_that_needs_it(
    tmp_path: Path, train: Callable[..., Path]
) -> None:
    paths = train(old=True), train(lr=0.2), train()
    states = [
        path.with_name(path.stem.rpartition("-")[0] + "-states") for path in paths
    ]
    for folder in states:
        (folder / "7").mkdir(parents=True)
        (folder / "7" / "3.safetensors").write_bytes(b"12345")
    told = command(tmp_path, "--remove")
    assert f"5  {states[0].relative_to(tmp_path)}: what clients kept" in told
    assert [folder.exists() for folder in states] == [False, True, True]


def test_a_run_at_work_is_left_alone(
    tmp_path: Path, train: Callable[..., Path]
) -> None:
    old = train(old=True)
    train()
    runs = tmp_path / space.RESULTS / RUN / "runs"
    runs.mkdir(parents=True)
    with FileLock(runs / "maml.lock"):
        told = command(tmp_path, "--remove")
    assert "stays: a run is at work there" in told
    assert old.exists()
    command(tmp_path, "--remove")
    assert not old.exists()


def test_files_of_runs_and_models_that_mlflow_does_not_have(tmp_path: Path) -> None:
    known, gone = "a" * 32, "b" * 32
    of_runs = f"1/{known}/artifacts", f"1/{gone}/artifacts"
    of_models = f"1/models/m-{known}/artifacts", f"1/models/m-{gone}/artifacts"
    for path in (*of_runs, *of_models, "1/models/own"):
        (tmp_path / "mlartifacts" / path).mkdir(parents=True)
        (tmp_path / "mlartifacts" / path / "file").write_text("12345")
    assert not list(space.replaced(tmp_path))  # without a database nobody can say
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        store.execute("CREATE TABLE runs (run_uuid TEXT)")
        store.execute("INSERT INTO runs VALUES (?)", [known])
        store.commit()
        # A database of an earlier MLflow says nothing of models.
        run = Path("mlartifacts", "1", gone)
        assert [found.path for found in space.replaced(tmp_path)] == [run]
        store.execute("CREATE TABLE logged_models (model_id TEXT)")
        store.execute("INSERT INTO logged_models VALUES (?)", [f"m-{known}"])
        store.commit()
    model = Path("mlartifacts", "1", "models", f"m-{gone}")
    found = {(found.path, found.size) for found in space.replaced(tmp_path)}
    assert found == {(run, 5), (model, 5)}
    command(tmp_path, "--remove")
    left = {
        str(p.relative_to(tmp_path / "mlartifacts" / "1"))
        for p in (tmp_path / "mlartifacts").rglob("file")
    }
    assert left == {
        f"{known}/artifacts/file",
        f"models/m-{known}/artifacts/file",
        "models/own/file",
    }
    (tmp_path / "mlflow.db").write_bytes(b"damaged" * 1000)
    assert not list(space.replaced(tmp_path))


@pytest.mark.parametrize("folder", ["project", "50%25 a#b?c"])
def test_files_of_runs_in_another_database_stay(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of every local store are in one folder."""
    project = tmp_path / folder
    numbers = {
        project / "mlflow.db": "a" * 32,
        project / "team.db": "b" * 32,
        tmp_path / "elsewhere.db": "c" * 32,
    }
    for number in (*numbers.values(), "d" * 32):
        (project / "mlartifacts" / "1" / number).mkdir(parents=True)
    for path, number in numbers.items():
        with closing(sqlite3.connect(path)) as store:
            store.execute("CREATE TABLE runs (run_uuid TEXT)")
            store.execute("INSERT INTO runs VALUES (?)", [number])
            store.commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", file_uri(tmp_path / "elsewhere.db"))
    assert [found.path.name for found in space.replaced(project)] == ["d" * 32]
    (project / "team.db").write_bytes(b"damaged" * 1000)
    assert not list(space.replaced(project))


def test_places_are_told_in_bytes_the_largest_first(tmp_path: Path) -> None:
    for path, size in {
        "data/06_models/paper/femnist/x": 2_000,
        "data/06_models/paper/femnist/y": 345,
        "data/01_raw/a.json": 7,
        "mlflow.db": 900,
        "src/module.py": 5,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x" * size)
    one = tmp_path / "data/06_models/paper/femnist/y"
    one.with_name("link").symlink_to("y")
    one.with_name("twin").hardlink_to(one)
    lines = [line.split() for line in command(tmp_path).splitlines()[:3]]
    assert lines == [
        ["2,345", "data/06_models/paper"],
        ["900", "mlflow.db"],
        ["7", "data/01_raw"],
    ]
