"""When what is logged: a Kedro hook that follows the marks of the catalog.

``metadata: {mlflow: ...}`` of a catalog entry says what its data are to tracking:
"data", "split", "codebook", "checkpoint", "history", "scores" or "artifact". A name
such as femnist.maml.history says whose: benchmark, algorithm. There is no list of
either here.
"""

import functools
import json
import logging
import threading
from collections.abc import Callable, Mapping
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
from fedmeta.configuration import globals_of
from fedmeta.data.cells import read_table
from fedmeta.identity import ROUND_LOOP
from fedmeta.tracking.measures import (
    experiment_name,
    not_finite,
    run_name,
    run_parameters,
)
from fedmeta.tracking.owners import Owner, git_commit, owner_of, round_loop
from fedmeta.tracking.record import (
    FAILED,
    FILE,
    FINISHED,
    KILLED,
    RECORDS,
    REPORTED,
    Record,
    find,
    lost_records,
    milliseconds,
    spent,
)
from fedmeta.tracking.sender import LIMIT_S, RESULTS, STOP_S, Sender

log = logging.getLogger(__name__)

DIGEST = 36  # characters that MLflow takes; all of it is a tag
# MLflow's own columns; its module of them takes seconds to import.
MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"


class Followed(NamedTuple):
    """State of the current Kedro run."""

    pipeline: Pipeline
    parameters: dict[str, Any]  # of all benchmarks and studies
    kinds: dict[str, str]  # dataset -> its mark
    files: dict[str, Path]  # dataset -> its file
    tags: dict[str, str]  # of every MLflow run
    named: dict[str, Any]  # the globals, which folders are named by
    began: dict[str, int]  # node -> when, in milliseconds
    provenance: dict[str, dict[str, str]]  # node -> tags of the data that it reads
    inputs: dict[str, dict[str, dict[str, str]]]  # node -> `Record.inputs`
    checkpoints: dict[str, tuple[str, str, Path]]  # node -> fingerprint, rounds, file
    codebooks: dict[str, Path]  # node -> file
    metadata: dict[str, dict[str, str]]  # node -> of the data that it reads
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
            pipeline,
            # Now, once: a config loader reads its files anew whenever it is asked.
            self._context.config_loader["parameters"],
            {name: mark for name, (mark, _) in marked.items()},
            {name: file for name, (_, file) in marked.items()},
            {key: value for key, value in tags.items() if value},
            named,
            began={},
            provenance={},
            inputs={},
            checkpoints={},
            codebooks={},
            metadata={},
            records={},
            artifacts=set(),
            sender=Sender(project),
        )

    @hook_impl
    @harmless
    def before_node_run(self, node: Node) -> None:
        self._current().began[node.name] = milliseconds()

    @hook_impl
    @harmless
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        now = self._current()
        if dataset_name not in now.kinds:
            return
        mark = now.kinds[dataset_name]
        inputs = now.inputs.setdefault(node.name, {})
        if mark == "data":
            inputs[dataset_name] = self._input(dataset_name, data.checksum)
            synthetic = data.metadata["synthetic"] == "true"
            now.provenance.setdefault(node.name, {}).update(
                source="synthetic" if synthetic else "real",
                data_checksum=data.checksum,
                data_name=data.metadata.get("name", ""),
            )
            now.metadata[node.name] = dict(data.metadata)
        elif mark == "split":
            known = now.provenance.setdefault(node.name, {})
            known["split_checksum"] = data["checksum"]
            sizes = {p: len(v) for p, v in data.items() if isinstance(v, list)}
            inputs[dataset_name] = self._input(dataset_name, data["checksum"], sizes)
        elif mark == "codebook":
            now.codebooks[node.name] = now.files[dataset_name]
        elif mark == "checkpoint":
            self._note_checkpoint(dataset_name, data, node)

    @hook_impl
    @harmless
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        now = self._current()
        if dataset_name not in now.kinds:
            return
        mark, file = now.kinds[dataset_name], now.files[dataset_name]
        if mark == "checkpoint":
            self._note_checkpoint(dataset_name, data, node)
        elif mark == "history":
            # Not `data`: the records' copies have gone through a file too.
            history = read_table(file)
            record = self._record(dataset_name, node, data, history)
            held = record.table(mark)
            longer = held is None or len(history) > len(held)
            if longer or record.status != FINISHED:
                record.keep_table(mark, file, [str(r) for r in history["round"]])
            _say_what_is_lost(record, data)
            self._put(record)
        elif mark == "scores":
            record = self._record(dataset_name, node, data)
            record.keep_table(mark, file, [mark])
            if node.name in now.checkpoints:
                *_, learned = now.checkpoints[node.name]
                record.checkpoint = relpath(learned, self._context.project_path)
                record.data = now.metadata.get(node.name, {})
                if node.name in now.codebooks:
                    codebook = now.codebooks[node.name].resolve()
                    record.codebook = self._relative(codebook)
            _say_what_is_lost(record, data)
            record.end(FINISHED)
            self._put(record)
        elif mark == "artifact":
            now.artifacts.add(dataset_name)

    @hook_impl
    @harmless
    def after_pipeline_run(self) -> None:
        now = self._current()
        common = []
        for name in sorted(now.artifacts):
            if (owner := owner_of(name)) in now.records:
                now.records[owner].keep(now.files[name], "report")
            else:
                common.append(name)
        if common and now.records:
            self._report(common)
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
        try:
            _finish(now, status, error, limit)
        except KeyboardInterrupt:  # in the middle of it, and only once
            _finish(now, status, error, STOP_S)
            raise

    def _report(self, names: list[str]) -> None:
        """Record what the runs of this pipeline have in common: as a run of its own.

        In each of them it would be there many times, and in the first of them nobody
        would look. Without an algorithm it is no run of a training to whoever compares.

        Args:
            names: of the datasets.
        """
        now = self._current()
        runs = [now.records[owner] for owner in sorted(now.records)]
        compared = sorted({run.folder.name for run in runs})
        first, experiment = runs[0], runs[0].experiment
        benchmark = first.tags["benchmark"]
        if len({run.experiment for run in runs}) > 1:  # a study of several data sets
            data = experiment.removeprefix(benchmark)
            benchmark = next(
                (o.benchmark for o in map(owner_of, names) if o.algorithm), benchmark
            )
            experiment = benchmark + data
        key = identity.fingerprint({"runs": compared, "experiment": experiment})
        folder = first.folder.with_name(f"report-{key[:12]}")
        name = run_name("report", now.named)
        guard = first.guard or first.tags["algorithm"]
        record = (
            Record.read(folder)
            if (folder / FILE).is_file()
            else Record(folder, experiment, name, first.note, guard=guard)
        )
        record.resume(
            {
                **now.tags,
                "benchmark": benchmark,
                "group": first.tags["group"],
                "support_fraction": str(now.named["support_fraction"]),
                "seed": str(now.named["seed"]),
                REPORTED: ", ".join(compared),
            },
            {},
        )
        record.files = {}
        for dataset in names:
            record.keep(now.files[dataset], "report")
        record.end(FINISHED)
        self._put(record)

    def _input(
        self, name: str, checksum: str, profile: Mapping[str, int] | None = None
    ) -> dict[str, str]:
        """Describe a data set as `mlflow.data` does.

        Its place is relative to the project, which may be moved.
        """
        file = self._current().files[name]
        place = self._relative(file.resolve()) if file.name else name  # in memory
        return {
            "digest": checksum[:DIGEST],
            "source": json.dumps({"uri": place}),
            "profile": json.dumps(profile or {}),
        }

    def _relative(self, path: Path) -> str:
        return relpath(path, Path(self._context.project_path).resolve())

    def _note_checkpoint(self, name: str, data: Any, node: Node) -> None:
        now = self._current()
        file = now.files[name].resolve()
        now.checkpoints[node.name] = (data.fingerprint, str(data.rounds), file)

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
        # What only counts, as MFU does, has no rounds, and its results no seed.
        seeded = node.name in now.checkpoints or any(
            name.endswith(f".{ROUND_LOOP}") for name in parameters
        )
        fingerprint, rounds, _ = now.checkpoints.get(
            node.name, ("", parameters.get(f"{loop}.rounds", ""), None)
        )
        # MLflow keeps a parameter's first value, so that a training that goes on to
        # more rounds than it was asked for is another run, with the whole history.
        own = {
            "algorithm": owner.algorithm,
            # What only counts has no checkpoint.
            "fingerprint": fingerprint
            or identity.fingerprint(results.attrs.get("settings", parameters)),
            "rounds": rounds,
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
            "seed": str(now.named["seed"]) if seeded else "",
            "group": relpath(
                now.files[dataset].parent, self._context.project_path / RESULTS
            ),
        }
        home = now.files[dataset].parent / RECORDS
        key = (owner.algorithm, own["fingerprint"][:12], own["rounds"])
        stand_in = known.get("data_name", "")
        if known.get("source") != "real":
            stand_in = f"synthetic {now.tags['store']}"
        experiment = experiment_name(owner.benchmark, stand_in)
        folder, record = find(home / "-".join(filter(None, key)), experiment, history)
        if record is None:
            name = run_name(owner.algorithm, now.named)
            note = "Not results of the benchmark's own data." if stand_in else ""
            record = Record(folder, experiment, name, note)
            # As if it had been trained without a stop until now.
            timing = results.attrs.get("timing", [])
            record.began = (
                milliseconds() - spent(timing) if timing else now.began[node.name]
            )
        context = "evaluation" if history is None else "training"
        for data, facts in now.inputs.get(node.name, {}).items():
            record.inputs.setdefault(data, {**facts, "context": context})
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


def _finish(now: Followed, status: str, error: str, limit: float) -> None:
    for record in now.records.values():
        record.end(status, error)
        record.write()
        now.sender.put(record.folder)
    now.sender.finish(limit)


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
