"""Where runs are tracked."""

import os
from pathlib import Path


def tracking_uri(project: Path) -> str:
    """MLflow's URI for a project: MLFLOW_TRACKING_URI, else its own mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project}/mlflow.db"
