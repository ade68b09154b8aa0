"""When what is logged: a Kedro hook that follows the marks of the catalog.

``metadata: {mlflow: ...}`` of a catalog entry says what its data are to tracking:
"data", "split", "codebook", "checkpoint", "history", "scores" or "artifact". A name
such as femnist.maml.history says whose: benchmark, algorithm. There is no list of
either here.
"""

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fedmeta.configuration import globals_of
from fedmeta.data.cells import read_table
from fedmeta.tracking.followed import Followed
from fedmeta.tracking.measures import not_finite
from fedmeta.tracking.owners import git_commit, marked, owner_of
from fedmeta.tracking.record import FAILED, FINISHED, KILLED, Record, milliseconds
from fedmeta.tracking.sender import LIMIT_S, STOP_S, Sender, one_line

log = logging.getLogger(__name__)

# MLflow's own columns; its module of them takes seconds to import.
MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"


def harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Let an error end the tracking, but never the training."""

    @functools.wraps(method)
    def guarded(self: "MlflowHook", *args: Any, **kwargs: Any) -> None:
        with self._lock:
            if self._followed is None:
                return
            try:
                method(self, *args, **kwargs)
            except Exception as error:
                self._followed = None
                log.warning(
                    "The rest of this run is not tracked (%s). Nothing else is lost:"
                    " run the same command again to track what is missing.",
                    one_line(error),
                )

    return guarded


class MlflowHook:
    """One MLflow run an algorithm, of which the curves grow while it trains.

    The same data and options give the same training, and so the same run. What is to be
    said of it is written into its record under data/, and MLflow is told from there: a
    run waits for MLflow at its end alone, and never for long.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Kedro's ThreadRunner calls from its threads
        self._followed: Any = None  # a `Followed`, while a run is under way

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self._context = context

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        project = Path(self._context.project_path)
        named = globals_of(self._context.config_loader)
        called = ",".join(run_params["pipeline_names"] or ["__default__"])
        env = run_params["env"]
        tags = {
            "store": str(named["store"]),
            "kedro_pipeline": called,
            "kedro_env": env or "local",
            "kedro_session": run_params["run_id"],
            MLFLOW_SOURCE_NAME: f"kedro run --pipeline {called}"
            + (f" --env {env}" if env else ""),
            MLFLOW_SOURCE_TYPE: "PROJECT",
            **git_commit(project),
        }
        self._followed = Followed(
            project,
            pipeline,
            self._context.config_loader["parameters"],
            marked(catalog, pipeline.datasets()),
            {key: value for key, value in tags.items() if value},
            named,
            Sender(project),
        )

    @hook_impl
    @harmless
    def before_node_run(self, node: Node) -> None:
        self._followed.seen[node.name].began = milliseconds()

    @hook_impl
    @harmless
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        now: Followed = self._followed
        if dataset_name not in now.marked:
            return
        (mark, file), seen = now.marked[dataset_name], now.seen[node.name]
        if mark == "data":
            seen.inputs[dataset_name] = now.described(dataset_name, data.checksum)
            synthetic = data.metadata["synthetic"] == "true"
            seen.tags |= {
                "source": "synthetic" if synthetic else "real",
                "data_checksum": data.checksum,
                "data_name": data.metadata.get("name", ""),
            }
            seen.metadata = dict(data.metadata)
        elif mark == "split":
            seen.tags["split_checksum"] = data["checksum"]
            sizes = {p: len(v) for p, v in data.items() if isinstance(v, list)}
            told = now.described(dataset_name, data["checksum"], sizes)
            seen.inputs[dataset_name] = told
        elif mark == "codebook":
            seen.codebook = file
        elif mark == "checkpoint":
            seen.note_checkpoint(data, file)

    @hook_impl
    @harmless
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        now: Followed = self._followed
        if dataset_name not in now.marked:
            return
        (mark, file), seen = now.marked[dataset_name], now.seen[node.name]
        if mark == "checkpoint":
            seen.note_checkpoint(data, file)
        elif mark == "history":
            # Not `data`: the records' copies have gone through a file too.
            history = read_table(file)
            record = now.record(dataset_name, node, data, history)
            held = record.table(mark)
            longer = held is None or len(history) > len(held)
            if longer or record.status != FINISHED:
                record.keep_table(mark, file, [str(r) for r in history["round"]])
            _say_what_is_lost(record, data)
            now.put(record)
        elif mark == "scores":
            record = now.record(dataset_name, node, data)
            record.keep_table(mark, file, [mark])
            if seen.checkpoint is not None:
                *_, learned = seen.checkpoint
                record.checkpoint = now.relative(learned)
                record.data = seen.metadata
                if seen.codebook is not None:
                    record.codebook = now.relative(seen.codebook.resolve())
            _say_what_is_lost(record, data)
            record.end(FINISHED)
            now.put(record)
        elif mark == "artifact":
            now.artifacts.add(dataset_name)

    @hook_impl
    @harmless
    def after_pipeline_run(self) -> None:
        now: Followed = self._followed
        common = []
        for name in sorted(now.artifacts):
            if (owner := owner_of(name)) in now.records:
                now.records[owner].keep(now.marked[name].file, "report")
            else:
                common.append(name)
        if common and now.records:
            now.report(common)
        self._end(FINISHED)
        for page in sorted(now.sender.pages):
            log.info("Curves and results to compare: make ui (or mlflow ui), %s", page)

    @hook_impl
    @harmless
    def on_pipeline_error(self, error: BaseException) -> None:
        self._end(FAILED, f"{type(error).__name__}: {one_line(error)}")

    @harmless
    def on_interrupt(self) -> None:
        """Called by `fedmeta.session.Session`: Kedro tells its hooks of errors only."""
        self._end(KILLED, "interrupted by the user", STOP_S)

    def _end(self, status: str, error: str = "", limit: float = LIMIT_S) -> None:
        now, self._followed = self._followed, None
        try:
            now.end(status, error, limit)
        except KeyboardInterrupt:  # in the middle of it, and only once
            now.end(status, error, STOP_S)
            raise


def _say_what_is_lost(record: Record, results: pd.DataFrame) -> None:
    """Tag metrics that MLflow cannot hold; mark a diverged training as failed."""
    if lost := not_finite(record.table("history"), record.table("scores")):
        record.tags["not_finite"] = lost
    if mark := results.attrs.get("diverged"):
        # Late: torch takes seconds to import, and other commands do without.
        from fedmeta.core.types import Divergence  # noqa: PLC0415

        record.tags["diverged"] = str(Divergence(**mark))
        record.end(FAILED, record.tags["diverged"])
