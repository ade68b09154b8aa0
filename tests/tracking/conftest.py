"""A project with an empty store."""

import shutil
from pathlib import Path

import pytest

from fedmeta.tracking.store import open_client
from fedmeta.tracking.uri import file_uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store takes seconds to make: made once, and copied."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_client(file_uri(path))
    return path


@pytest.fixture
def project(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path)
    return tmp_path
