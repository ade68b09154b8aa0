"""A project with an empty store. Stores take seconds to make: one is, and is copied."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from fedmeta.tracking import database
from fedmeta.tracking.uri import database_file, file_uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    database.open_client(file_uri(path))
    return path


@pytest.fixture
def quickly_made(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What a new store holds, which is what is written wherever one is made."""

    def client(uri: str) -> MlflowClient:
        path = database_file(uri)
        if path is not None and path.suffix == ".partial":
            shutil.copy(empty_store, path)
        return MlflowClient(uri)

    monkeypatch.setattr(database, "MlflowClient", client)
    return empty_store.read_bytes()


@pytest.fixture
def project(
    tmp_path: Path, quickly_made: bytes, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(quickly_made)
    return tmp_path
