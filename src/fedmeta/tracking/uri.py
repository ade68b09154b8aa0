"""Where runs are tracked."""

import os
from pathlib import Path


def tracking_uri(project: Path) -> str:
    """Return MLflow's URI for a project: MLFLOW_TRACKING_URI, else its mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or file_uri(project / "mlflow.db")


def file_uri(path: Path) -> str:
    """Return the URI of an SQLite file, whatever characters its path has."""
    # Late: it takes 0.3 s to import, and MLflow brings it anyway.
    from sqlalchemy import URL  # noqa: PLC0415

    # SQLAlchemy quotes as it unquotes, which differs between its versions. With the
    # driver in the URI, MLflow does not make a folder of the quoted name.
    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def database_file(uri: str) -> Path | None:
    """Return the SQLite file of a tracking URI; None where it names no file."""
    from sqlalchemy import make_url  # noqa: PLC0415

    name = make_url(uri).database if uri.startswith("sqlite") else None
    return Path(name) if name and not name.startswith((":memory:", "file:")) else None


def shown(uri: str) -> str:
    """Return a tracking URI for a message: the path of a file, no password."""
    from sqlalchemy import make_url  # noqa: PLC0415

    path = database_file(uri)
    return str(path) if path else make_url(uri).render_as_string()
