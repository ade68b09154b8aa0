"""MLflow runs that can be gone on with. Importing this imports MLflow (1.5 s)."""

import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file
from torch import Tensor

from fedmeta.tracking.measures import Point

T = TypeVar("T")

# What opening a database says (and of which tables it is made) is no news to users.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

BATCH = {"metrics": 1000, "params": 100}  # what MLflow takes at once
MARKS = ("validation/accuracy_after", "train/loss")  # one of each history's points
# Charts of all runs, where `mlflow ui` serves if not told otherwise. Without these
# arguments MLflow opens an experiment on its pages for language models.
PAGE = (
    "http://127.0.0.1:5000/#/experiments/{}/runs"
    "?workflowType=machine_learning&compareRunsMode=CHART"
)

SQLITE = "sqlite:///"


class Store:
    """An MLflow tracking store, which several processes may open at once."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        """Open it; a new SQLite file takes some seconds.

        Args:
            uri: MLflow's tracking URI.
            artifacts: Folder for the artifacts of experiments in a local store; a
                server has its own place.
        """
        local = uri.startswith("sqlite:")
        self._artifacts = artifacts.resolve().as_uri() if local else None
        # MLflow makes the tables when it opens a database: two at once would fail.
        with _lock(uri):
            self.client = MlflowClient(uri)

    def experiment(self, name: str, note: str) -> str:
        """The id of the experiment of that name; it is made if there is none."""
        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        if found is not None:
            return found.experiment_id
        place = self._artifacts and f"{self._artifacts}/{name.replace(' ', '_')}"
        tags = {"mlflow.note.content": note}
        try:
            return self.client.create_experiment(name, place, tags)
        except MlflowException:
            made = self.client.get_experiment_by_name(name)
            if made is None:
                raise
            return made.experiment_id  # by another process, in between

    def find(self, experiment: str, tags: Mapping[str, str]) -> "Run | None":
        """The newest run of the experiment with all those tags."""
        conditions = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        runs = self.client.search_runs(
            [experiment], conditions, max_results=1, order_by=["start_time DESC"]
        )
        return Run(self.client, runs[0].info.run_id) if runs else None

    def create(self, experiment: str, name: str) -> "Run":
        """A new run."""
        run = self.client.create_run(experiment, run_name=name)
        return Run(self.client, run.info.run_id)


class Run:
    """One run; what it holds already is not logged again."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        marks = [m for name in MARKS for m in client.get_metric_history(run_id, name)]
        self.last_round = max((mark.step for mark in marks), default=-1)
        info = client.get_run(run_id).info
        self.ended = info.status == "FINISHED"
        self.page = PAGE.format(info.experiment_id)

    def begin(self, tags: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """Running, with these tags, and those parameters that it has not yet.

        A run that has ended well stays as it is, whatever becomes of others. MLflow
        keeps a parameter's first value: where a run is gone on with, only options that
        do not change its results, such as the device, can differ.
        """
        if self.ended:
            return
        held = self._client.get_run(self.run_id).data
        news = [Param(k, v) for k, v in parameters.items() if k not in held.params]
        for some in _batches(news, BATCH["params"]):
            self._client.log_batch(self.run_id, params=some)
        self._client.log_batch(
            self.run_id, tags=[RunTag(k, v) for k, v in tags.items()]
        )
        if "error" in held.tags:
            self._client.delete_tag(self.run_id, "error")
        self._client.update_run(self.run_id, status="RUNNING")

    def log_curves(self, points: Iterable[Point]) -> None:
        """Values by round."""
        now = _milliseconds()
        metrics = [Metric(p.name, p.value, now, p.round) for p in points]
        for some in _batches(metrics, BATCH["metrics"]):
            self._client.log_batch(self.run_id, metrics=some)
        self.last_round = max([self.last_round, *(m.step for m in metrics)])

    def log_final(self, metrics: Mapping[str, float]) -> None:
        """Values without a round: MLflow draws them as bars."""
        now = _milliseconds()
        self._client.log_batch(
            self.run_id, metrics=[Metric(k, v, now, 0) for k, v in metrics.items()]
        )

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """A copy of a file."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def log_learned(self, meta: Mapping[str, Mapping[str, Tensor]]) -> None:
        """What was learned, such as theta and alpha: "parameters.safetensors"."""
        tensors = {
            f"{group}/{name}": tensor.detach().cpu().contiguous()
            for group, params in meta.items()
            for name, tensor in params.items()
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "parameters.safetensors"
            save_file(tensors, path)
            self.log_file(path)

    def end(self, status: str, error: str = "") -> None:
        """FINISHED, FAILED or KILLED; the first counts."""
        if self.ended:
            return
        if error:
            self._client.set_tag(self.run_id, "error", error[:5000])
        self._client.set_terminated(self.run_id, status)
        self.ended = True


def _lock(uri: str) -> AbstractContextManager:
    """One process at a time, where the store is a file."""
    path, _, _ = uri.removeprefix(SQLITE).partition("?")
    return FileLock(f"{path}.lock") if uri.startswith(SQLITE) else nullcontext()


def _batches(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _milliseconds() -> int:
    return int(time.time() * 1000)
