"""One thread: small tensors are faster so, and sums come in one order. No telemetry."""

import gc
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "true"  # read by Kedro and by MLflow

import torch  # noqa: E402

from fedmeta import pipeline_registry  # noqa: E402

torch.set_num_threads(1)
# Each session asks for all graphs, in a quarter of a second.
REGISTER = pipeline_registry.register_pipelines
pipeline_registry.register_pipelines = cache(REGISTER)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a folder with the project's configuration, and no data."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("project")
        shutil.copytree(ROOT / "conf", folder / "conf")
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / name, folder)
        (folder / "src").mkdir()  # Kedro asks for it; the package itself is installed
        return folder

    return make


@pytest.fixture
def graphs_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of the test make their graphs: it changes what these are made of."""
    monkeypatch.setattr(pipeline_registry, "register_pipelines", REGISTER)


def pytest_collection_finish() -> None:
    """Let no collection look through thousands of tests: it takes a second."""
    gc.freeze()
