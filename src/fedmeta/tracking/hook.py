"""When what is logged: a Kedro hook that follows the marks of the catalog.

``metadata: {mlflow: ...}`` of a catalog entry says what its data are to tracking:
"data", "split", "checkpoint", "history", "scores" or "artifact". A name such as
femnist.maml.history says whose: benchmark, algorithm. There is no list of either here.
"""

import functools
import json
import logging
import threading
from collections.abc import Callable
from os.path import relpath
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fedmeta import identity
from fedmeta.configuration import store_of
from fedmeta.data.cells import read_table
from fedmeta.tracking.measures import (
    experiment_name,
    not_finite,
    run_name,
    run_parameters,
)
from fedmeta.tracking.owners import Owner, git_commit, owner_of, round_loop
from fedmeta.tracking.record import (
    FAILED,
    FINISHED,
    KILLED,
    RECORDS,
    Record,
    find,
    lost_records,
)
from fedmeta.tracking.sender import LIMIT_S, STOP_S, Sender

log = logging.getLogger(__name__)


class Followed(NamedTuple):
    """State of the current Kedro run."""

    pipeline: Pipeline
    parameters: dict[str, Any]  # of all benchmarks and studies
    kinds: dict[str, str]  # dataset -> its mark
    files: dict[str, Path]  # dataset -> its file
    tags: dict[str, str]  # of every MLflow run
    provenance: dict[str, dict[str, str]]  # node -> tags of the data that it reads
    checkpoints: dict[str, tuple[str, Path]]  # node -> fingerprint, file
    records: dict[Owner, Record]
    artifacts: set[str]  # datasets of that mark that were saved
    sender: Sender


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
                    _one_line(error),
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
        self._followed: Followed | None = None

    def _current(self) -> Followed:
        if self._followed is None:
            raise RuntimeError("no run of a pipeline is under way")
        return self._followed

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self._context = context

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        marked = {}
        for name in pipeline.datasets():
            dataset = catalog.get(name) if name in catalog else None
            mark = (getattr(dataset, "metadata", None) or {}).get("mlflow")
            if mark is not None:
                marked[name] = (mark, Path(getattr(dataset, "_filepath", "")))
        project = Path(self._context.project_path)
        tags = {
            "store": store_of(self._context.config_loader),
            "kedro_pipeline": ",".join(run_params["pipeline_names"] or ["__default__"]),
            "kedro_env": run_params["env"] or "local",
            "kedro_session": run_params["run_id"],
            **git_commit(project),
        }
        self._followed = Followed(
            pipeline,
            # Now, once: a config loader reads its files anew whenever it is asked.
            self._context.config_loader["parameters"],
            {name: mark for name, (mark, _) in marked.items()},
            {name: file for name, (_, file) in marked.items()},
            {key: value for key, value in tags.items() if value},
            provenance={},
            checkpoints={},
            records={},
            artifacts=set(),
            sender=Sender(project),
        )

    @hook_impl
    @harmless
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        now = self._current()
        if dataset_name not in now.kinds:
            return
        mark = now.kinds[dataset_name]
        if mark == "data":
            synthetic = data.metadata["synthetic"] == "true"
            now.provenance.setdefault(node.name, {}).update(
                source="synthetic" if synthetic else "real",
                data_checksum=data.checksum,
                data_name=data.metadata.get("name", ""),
            )
        elif mark == "split":
            known = now.provenance.setdefault(node.name, {})
            known["split_checksum"] = data["checksum"]
        elif mark == "checkpoint":
            file = now.files[dataset_name].resolve()
            now.checkpoints[node.name] = (data.fingerprint, file)

    @hook_impl
    @harmless
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        now = self._current()
        if dataset_name not in now.kinds:
            return
        mark, file = now.kinds[dataset_name], now.files[dataset_name]
        if mark == "checkpoint":
            now.checkpoints[node.name] = (data.fingerprint, file.resolve())
        elif mark == "history":
            # Not `data`: the records' copies have gone through a file too.
            history = read_table(file)
            record = self._record(dataset_name, node, data, history)
            held = record.table(mark)
            if held is None or len(history) >= len(held):
                record.keep_table(mark, file, [str(r) for r in history["round"]])
            _say_what_is_lost(record, data)
            self._put(record)
        elif mark == "scores":
            record = self._record(dataset_name, node, data)
            record.keep_table(mark, file, [mark])
            if node.name in now.checkpoints:
                _, learned = now.checkpoints[node.name]
                record.checkpoint = relpath(learned, self._context.project_path)
            _say_what_is_lost(record, data)
            record.end(FINISHED)
            self._put(record)
        elif mark == "artifact":
            now.artifacts.add(dataset_name)

    @hook_impl
    @harmless
    def after_pipeline_run(self) -> None:
        now = self._current()
        copies: dict[str, Record] = {}
        for owner, record in now.records.items():
            for name in sorted(now.artifacts):
                whose = owner_of(name)
                # Who compares runs looks for their report in each of them: that of the
                # benchmark, or of a study that several experiments have in common.
                common = whose not in now.records and (
                    whose.benchmark == owner.benchmark
                    or whose.benchmark not in {run.benchmark for run in now.records}
                )
                if common or whose == owner:
                    record.keep(now.files[name], "report", copies.get(name))
                    copies.setdefault(name, record)
        self._end(FINISHED)
        for page in sorted(now.sender.pages):
            log.info("Curves and results to compare: make ui (or mlflow ui), %s", page)

    @hook_impl
    @harmless
    def on_pipeline_error(self, error: BaseException) -> None:
        self._end(FAILED, f"{type(error).__name__}: {_one_line(error)}")

    @harmless
    def on_interrupt(self) -> None:
        """Called by `fedmeta.session.Session`: Kedro tells its hooks of errors only."""
        self._end(KILLED, "interrupted by the user", STOP_S)

    def _end(self, status: str, error: str = "", limit: float = LIMIT_S) -> None:
        now, self._followed = self._current(), None
        for record in now.records.values():
            record.end(status, error)
            record.write()
            now.sender.put(record.folder)
        now.sender.finish(limit)

    def _put(self, record: Record) -> None:
        record.write()
        self._current().sender.put(record.folder)

    def _record(
        self,
        dataset: str,
        node: Node,
        results: pd.DataFrame,
        history: pd.DataFrame | None = None,
    ) -> Record:
        """Return the record of an algorithm's run: open, earlier, or new.

        Args:
            dataset: its history or scores.
            node: which made them.
            results: what they hold, and with which settings they were made.
            history: as it is in its file, if it is that.
        """
        now, owner = self._current(), owner_of(dataset)
        held = now.records.get(owner)
        if held is not None and (history is None or held.agrees(history)):
            return held
        known = now.provenance.get(node.name, {})
        parameters, loop = self._parameters(owner, node), round_loop(node)
        seed = parameters.get(f"{loop}.seed", "")
        fingerprint, _ = now.checkpoints.get(node.name, (None, None))
        # MLflow keeps a parameter's first value, so that a training that goes on to
        # more rounds than it was asked for is another run, with the whole history.
        own = {
            "algorithm": owner.algorithm,
            # What only counts has no checkpoint.
            "fingerprint": fingerprint
            or identity.fingerprint(results.attrs.get("settings", parameters)),
            "rounds": parameters.get(f"{loop}.rounds", ""),
        }
        made_with = results.attrs.get("settings", {})
        code = {k: v for k, v in made_with.items() if k.startswith("code.")}
        tags = {
            **now.tags,
            **known,
            **own,
            **results.attrs.get("environment", {}),
            "code": json.dumps(code),  # hashes of modules: `fedmeta.identity`
            "benchmark": owner.benchmark,
            "support_fraction": parameters.get("partition.support_fraction", ""),
            "seed": seed,
        }
        home = now.files[dataset].parent / RECORDS
        key = (owner.algorithm, own["fingerprint"][:12], own["rounds"])
        stand_in = known.get("data_name", "")
        if known.get("source") != "real":
            stand_in = f"synthetic {now.tags['store']}"
        experiment = experiment_name(owner.benchmark, stand_in)
        folder, record = find(home / "-".join(filter(None, key)), experiment, history)
        if record is None:
            name = run_name(owner.algorithm, parameters, seed)
            note = "Not results of the benchmark's own data." if stand_in else ""
            record = Record(folder, experiment, name, note)
        record.resume(tags, parameters)
        for lost in lost_records(home, owner.algorithm, but=folder):
            now.sender.put(lost.folder)
        now.records[owner] = record
        return record

    def _parameters(self, owner: Owner, node: Node) -> dict[str, str]:
        """Parameters of the node and of all that led to it."""
        now = self._current()
        everything = now.parameters
        line = now.pipeline.to_nodes(node.name).inputs()
        parameters = everything[owner.benchmark]
        prefix = f"params:{owner.benchmark}."
        names = {name.removeprefix(prefix) for name in line if name.startswith(prefix)}
        blocks = {key: parameters[key] for key in parameters if key in names}
        for name in line:  # a study is of data that are divided under another name
            home, _, block = name.removeprefix("params:").partition(".")
            if block == "partition":
                blocks.setdefault(block, everything[home][block])
        # Of a training that starts from another's checkpoint its own options count.
        trained = self._checkpoints(node.outputs) or self._checkpoints(node.inputs)
        others = {
            block
            for name, mark in now.kinds.items()
            if mark in ("history", "scores")
            for block in _blocks(owner_of(name).algorithm)
        }
        own = dict.fromkeys(
            block for name in (*trained, owner.algorithm) for block in _blocks(name)
        )
        return run_parameters(blocks, list(own), others - set(own))

    def _checkpoints(self, datasets: list[str]) -> list[str]:
        """Algorithms whose checkpoints are among the datasets."""
        kinds = self._current().kinds
        return [
            owner_of(name).algorithm
            for name in datasets
            if kinds.get(name) == "checkpoint"
        ]


def _say_what_is_lost(record: Record, results: pd.DataFrame) -> None:
    """Tag metrics that MLflow cannot hold; mark a diverged training as failed."""
    if lost := not_finite(record.table("history"), record.table("scores")):
        record.tags["not_finite"] = lost
    if mark := results.attrs.get("diverged"):
        # Late: torch takes seconds to import, and other commands do without.
        from fedmeta.core.types import Divergence  # noqa: PLC0415

        record.tags["diverged"] = str(Divergence(**mark))
        record.end(FAILED, record.tags["diverged"])


def _blocks(algorithm: str) -> list[str]:
    """The blocks of parameters that its options are made from."""
    # Late: torch takes seconds to import, and other commands do without.
    from fedmeta.core.algorithms import ALGORITHMS, blocks_of  # noqa: PLC0415

    return blocks_of(algorithm) if algorithm in ALGORITHMS else [algorithm]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
