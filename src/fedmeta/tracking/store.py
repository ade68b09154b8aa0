"""MLflow runs, made and completed from records. This imports MLflow, which is slow."""

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.utils import chunk_list
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from fedmeta.tracking.database import AtWork, open_client
from fedmeta.tracking.measures import TIMES, curve_points, final_metrics, timing_points
from fedmeta.tracking.models import log_learned, remove_half_copied
from fedmeta.tracking.record import ENDINGS, RUNNING, Record, spent
from fedmeta.tracking.uri import database_file

log = logging.getLogger(__name__)

METRICS, PARAMETERS = 1000, 100  # that MLflow takes at once
# Charts of all runs. Without these arguments MLflow opens an experiment on its pages
# for language models.
PAGE = "{}/#/experiments/{}/runs?workflowType=machine_learning&compareRunsMode=CHART"
OWN_PAGE = "http://127.0.0.1:5000"  # where `mlflow ui` serves if not told otherwise
COMPLETE = "record_sha256"  # tag: the record of which all has been logged


class Store:
    """An MLflow tracking store."""

    def __init__(
        self, uri: str, artifacts: Path, at_work: AtWork = nullcontext
    ) -> None:
        """Open it; a new SQLite file takes some seconds to make.

        Args:
            uri: MLflow's tracking URI.
            artifacts: folder for the artifacts of experiments in a local store; a
                server has its own place.
            at_work: entered while a file or a model is made.

        Raises:
            Exception: of many kinds, where the store cannot be used.
        """
        local = database_file(uri) is not None
        self._artifacts = artifacts.resolve().as_uri() if local else None
        self._pages = uri.rstrip("/") if uri.startswith("http") else OWN_PAGE
        self.client, self._at_work = open_client(uri, at_work), at_work
        self._experiments: dict[str, str] = {}  # name -> id
        self._held: dict[str, set[tuple]] = {}  # run -> its points and files

    def is_complete(self, record: Record, project: Path) -> bool:
        """Whether all of a record has been logged."""
        run = self._find(self._experiment(record), _address(record, project))
        return run is not None and run.data.tags.get(COMPLETE) == record.digest

    def log(self, record: Record, project: Path) -> Iterator[None]:
        """Log what MLflow lacks of a record: nothing that is there is logged twice.

        Only one process at a time may do so: the one that has the record's lock.

        Yields:
            After every request that was answered.
        """
        experiment, address = self._experiment(record), _address(record, project)
        yield
        tags = {"record": address, **record.tags}
        run = self._find(experiment, address) or self.client.create_run(
            experiment, record.began, tags, record.name
        )
        yield
        if run.data.tags.get(COMPLETE) == record.digest:
            return
        yield from self._log_words(run, tags, record.parameters)
        yield from self._log_inputs(run, record)
        yield from self._log_values(run, record)
        if record.status == RUNNING:
            if run.info.status != RUNNING:
                self.client.update_run(run.info.run_id, RUNNING)
            return
        # First how it ended: a process that is stopped does not wait long for files.
        self.client.set_terminated(run.info.run_id, record.status, record.ended)
        yield
        yield from self._log_files(run, record, project)
        self.client.set_tag(run.info.run_id, COMPLETE, record.digest)
        yield

    def forget(self) -> None:
        """Drop what is known of MLflow's content, after an error of unclear effect."""
        self._experiments.clear()
        self._held.clear()

    def page(self, record: Record) -> str:
        """The address of the charts of a record's experiment."""
        return PAGE.format(self._pages, self._experiment(record))

    def _experiment(self, record: Record) -> str:
        """The id of a record's experiment; it is made if there is none."""
        name = record.experiment
        if name not in self._experiments:
            self._experiments[name] = self._made_experiment(name, record.note)
        return self._experiments[name]

    def _made_experiment(self, name: str, note: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        if found is not None:
            return found.experiment_id
        # Two names may share a folder: runs have folders of their own below it.
        folder = re.sub(r"[^\w.-]+", "_", name)
        place = self._artifacts and f"{self._artifacts}/{quote(folder)}"
        tags = {"mlflow.note.content": note}
        try:
            return self.client.create_experiment(name, place, tags)
        except MlflowException:
            made = self.client.get_experiment_by_name(name)
            if made is None:
                raise
            return made.experiment_id  # by another process, in between

    def _find(self, experiment: str, address: str) -> MlflowRun | None:
        runs = self.client.search_runs([experiment], f"tags.record = '{address}'")
        *empty, found = sorted(runs, key=lambda run: len(run.data.metrics)) or [None]
        for run in empty:  # asked for twice, as the first answer did not come in time
            if not run.data.metrics:
                self.client.delete_run(run.info.run_id)
        return found

    def _log_words(
        self, run: MlflowRun, tags: Mapping[str, str], parameters: Mapping[str, str]
    ) -> Iterator[None]:
        number, held = run.info.run_id, run.data
        news = [RunTag(k, v) for k, v in tags.items() if held.tags.get(k) != v]
        if news:
            self.client.log_batch(number, tags=news)
            yield
        for name in ENDINGS:
            if name in held.tags and name not in tags:
                self.client.delete_tag(number, name)
        # MLflow keeps a parameter's first value, as records do.
        news = [Param(k, v) for k, v in parameters.items() if k not in held.params]
        for some in chunk_list(news, PARAMETERS):
            self.client.log_batch(number, params=some)
            yield

    def _log_inputs(self, run: MlflowRun, record: Record) -> Iterator[None]:
        """Log what the data were, and where they are; they themselves stay there."""
        there = [held.dataset for held in run.inputs.dataset_inputs]
        held = {(dataset.name, dataset.digest) for dataset in there}
        news = [
            DatasetInput(
                Dataset(name, data["digest"], "local", data["source"], None, profile),
                [InputTag(MLFLOW_DATASET_CONTEXT, data["context"])],
            )
            for name, data in record.inputs.items()
            for profile in [data["profile"]]
            if (name, data["digest"]) not in held
        ]
        if news:
            self.client.log_inputs(run.info.run_id, news)
            yield

    def _log_values(self, run: MlflowRun, record: Record) -> Iterator[None]:
        number = run.info.run_id
        if number not in self._held:
            self._held[number] = {
                (point.key, point.step, point.value)
                for name in run.data.metrics
                for point in self.client.get_metric_history(number, name)
            }
        held = self._held[number]
        news = [m for m in _metrics(record) if (m.key, m.step, m.value) not in held]
        # What is trained anew, with the same results, takes another time.
        measured = {(key, step) for key, step, *_ in held if key in TIMES}
        news = [m for m in news if (m.key, m.step) not in measured]
        for some in chunk_list(news, METRICS):
            self.client.log_batch(number, metrics=some)
            held |= {(m.key, m.step, m.value) for m in some}
            yield

    def _log_files(
        self, run: MlflowRun, record: Record, project: Path
    ) -> Iterator[None]:
        number, held = run.info.run_id, self._held[run.info.run_id]
        remove_half_copied(run.info.artifact_uri)
        for path in record.files.items() - held:
            folder = path[0].rpartition("/")[0] or None
            self.client.log_artifact(number, str(record.folder / path[0]), folder)
            held.add(path)
            yield
        learned = ("checkpoint", record.checkpoint)
        if record.checkpoint and learned not in held:
            try:
                yield from log_learned(self.client, run, record, project, self._at_work)
            except FileNotFoundError:
                log.warning(
                    "%s is missing: the parameters learned by %s are not logged",
                    record.checkpoint,
                    record.name,
                )
            held.add(learned)
            yield


def _metrics(record: Record) -> Iterator[Metric]:
    """Yield all values of a record; MLflow draws those without a round as bars."""
    history, scores = record.table("history"), record.table("scores")
    if history is not None:
        timing = record.timing()
        # In charts by time a training goes on from where it was stopped.
        at = {row["round"]: record.began + spent([row]) for row in timing}
        for point in [*curve_points(history), *timing_points(timing)]:
            seen = record.times.get(str(point.round))
            if seen is not None:  # the file may be newer than what was read of it
                moment = at.get(point.round, seen)
                yield Metric(point.name, point.value, moment, point.round)
    if scores is not None:
        for name, value in final_metrics(scores).items():
            if math.isfinite(value):
                yield Metric(name, value, record.times["scores"], 0)


def _address(record: Record, project: Path) -> str:
    """Path of a record as a tag that identifies its run; no character needs quotes."""
    return quote(os.path.relpath(record.folder.resolve(), project.resolve()))
