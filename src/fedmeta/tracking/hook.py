"""When what is logged: a Kedro hook that follows the marks of the catalog.

``metadata: {mlflow: ...}`` of a catalog entry says what its data are to tracking:
"data", "split", "checkpoint", "history", "scores" or "artifact". A name such as
femnist.maml.history says whose: benchmark, algorithm. There is no list of either here.
"""

import functools
import logging
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fedmeta.session import store_of
from fedmeta.tracking.measures import (
    curve_points,
    experiment_name,
    final_metrics,
    run_name,
    run_parameters,
)
from fedmeta.tracking.uri import tracking_uri

log = logging.getLogger(__name__)


class Owner(NamedTuple):
    """Whose a dataset is."""

    benchmark: str
    algorithm: str  # "" where it is nobody's in particular


class Followed(NamedTuple):
    """What is known of the Kedro run that is under way."""

    pipeline: Pipeline
    parameters: dict[str, Any]  # of all benchmarks and studies
    kinds: dict[str, str]  # dataset -> its mark
    files: dict[str, Path]  # dataset -> its file
    tags: dict[str, str]  # of every MLflow run
    provenance: dict[str, dict[str, str]]  # node -> tags of the data that it reads
    checkpoints: dict[str, tuple[str, Any]]  # node -> fingerprint, learned parameters
    runs: dict[Owner, Any]  # MLflow runs that were opened
    artifacts: set[str]  # datasets of that mark that were saved


def harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Trouble with MLflow ends the tracking, never the training."""

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
                    "Tracking in %s is off for the rest of this run (%s). Nothing else"
                    " is lost: results are kept under data/, and the same command, run"
                    " again, logs what is missing here.",
                    tracking_uri(self._context.project_path),
                    _one_line(error),
                )

    return guarded


class MlflowHook:
    """One MLflow run an algorithm, of which the curves grow while it trains.

    The same data and options give the same training, and so the same run: after an
    interruption it is gone on with, and only rounds that it lacks are logged.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # Kedro's ThreadRunner calls from its threads
        self._store: Any = None
        self._followed: Followed | None = None

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
        self._store = None
        self._followed = Followed(
            pipeline,
            # Now, once: a config loader reads its files anew whenever it is asked.
            self._context.config_loader["parameters"],
            {name: mark for name, (mark, _) in marked.items()},
            {name: file for name, (_, file) in marked.items()},
            {key: value for key, value in tags.items() if value},
            provenance={},
            checkpoints={},
            runs={},
            artifacts=set(),
        )

    @hook_impl
    @harmless
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Node) -> None:
        now = self._followed
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
            now.checkpoints[node.name] = (data.fingerprint, data.learned)

    @hook_impl
    @harmless
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        now = self._followed
        if dataset_name not in now.kinds:
            return
        mark, owner = now.kinds[dataset_name], owner_of(dataset_name)
        if mark == "checkpoint":
            now.checkpoints[node.name] = (data.fingerprint, None)
        elif mark == "history":
            run = self._run(owner, node, data)
            run.log_curves(curve_points(data, after=run.last_round))
        elif mark == "scores":
            self._finish(self._run(owner, node), owner, node, data)
        elif mark == "artifact":
            now.artifacts.add(dataset_name)

    @hook_impl
    @harmless
    def after_pipeline_run(self) -> None:
        now = self._followed
        for owner, run in now.runs.items():
            for name in sorted(now.artifacts):
                whose = owner_of(name)
                # Who compares runs looks for their report in each of them: that of the
                # benchmark, or of a study that several experiments have in common.
                common = whose not in now.runs and (
                    whose.benchmark == owner.benchmark
                    or whose.benchmark not in {run.benchmark for run in now.runs}
                )
                if common or whose == owner:
                    run.log_file(now.files[name], "report")
            run.end("FINISHED")
        for page in sorted({run.page for run in now.runs.values()}):
            log.info("Curves and results to compare: make ui (or mlflow ui), %s", page)
        self._followed = None

    @hook_impl
    @harmless
    def on_pipeline_error(self, error: BaseException) -> None:
        self._end("FAILED", f"{type(error).__name__}: {_one_line(error)}")

    @harmless
    def on_interrupt(self) -> None:
        """Called by `fedmeta.session.Session`: Kedro tells its hooks of errors only."""
        self._end("KILLED", "interrupted by the user")

    def _end(self, status: str, error: str) -> None:
        for run in self._followed.runs.values():
            run.end(status, error)
        self._followed = None

    def _run(
        self, owner: Owner, node: Node, history: pd.DataFrame | None = None
    ) -> Any:
        """The MLflow run of an algorithm: the one opened, an earlier one, or a new one.

        An earlier one that knows more rounds than a history's beginning is that of
        another training: its checkpoint must have been deleted.
        """
        now = self._followed
        if owner in now.runs:
            return now.runs[owner]
        store = self._open_store()
        known = now.provenance.get(node.name, {})
        stand_in = known.get("data_name", "")
        if known.get("source") != "real":
            stand_in = f"synthetic {now.tags['store']}"
        note = "Not results of the benchmark's own data." if stand_in else ""
        experiment = store.experiment(experiment_name(owner.benchmark, stand_in), note)
        fingerprint, _ = now.checkpoints.get(node.name, ("", None))
        parameters, loop = self._parameters(owner, node), round_loop(node)
        seed = parameters.get(f"{loop}.seed", "")
        # MLflow keeps a parameter's first value, so that a training that goes on to
        # more rounds than it was asked for is another run, with the whole history.
        identity = {
            "algorithm": owner.algorithm,
            "fingerprint": fingerprint,
            "rounds": parameters.get(f"{loop}.rounds", ""),
        }
        run = store.find(experiment, identity) if fingerprint else None
        if run and history is not None and run.last_round > history["round"].max():
            run = None
        name = run_name(owner.algorithm, parameters, seed)
        run = run or store.create(experiment, name)
        tags = {
            **now.tags,
            **known,
            **identity,
            "benchmark": owner.benchmark,
            "support_fraction": parameters.get("partition.support_fraction", ""),
            "seed": seed,
        }
        run.begin(tags, parameters)
        now.runs[owner] = run
        return run

    def _finish(self, run: Any, owner: Owner, node: Node, scores: pd.DataFrame) -> None:
        now = self._followed
        run.log_final(final_metrics(scores))
        for name, mark in now.kinds.items():
            path = now.files[name]
            if owner_of(name) == owner and mark in ("history", "scores"):
                run.log_file(path)
        _, learned = now.checkpoints.pop(node.name, ("", None))
        if learned is not None:
            run.log_learned(learned)
        run.end("FINISHED")

    def _parameters(self, owner: Owner, node: Node) -> dict[str, str]:
        """Parameters of the node and of all that led to it."""
        now = self._followed
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
        """Whose checkpoints are among some datasets."""
        kinds = self._followed.kinds
        return [
            owner_of(name).algorithm
            for name in datasets
            if kinds.get(name) == "checkpoint"
        ]

    def _open_store(self) -> Any:
        if self._store is None:
            # Late: MLflow takes seconds to import, which a run that fails early, and
            # every other Kedro command, need not wait for.
            from fedmeta.tracking.store import Store  # noqa: PLC0415

            artifacts = Path(self._context.project_path) / "mlartifacts"
            self._store = Store(tracking_uri(self._context.project_path), artifacts)
        return self._store


def owner_of(dataset: str) -> Owner:
    """ "femnist.maml.history" -> femnist, maml; "femnist.statistics" -> femnist."""
    benchmark, *middle, _ = dataset.split(".")
    return Owner(benchmark, ".".join(middle))


def round_loop(node: Node) -> str:
    """The block of parameters that a node takes as ``training``.

    A study has a second one where some of its trainings differ in their rounds.
    """
    given = node._inputs  # by argument, which `node.inputs` does not tell
    named = given.get("training", "training") if isinstance(given, dict) else "training"
    return named.rpartition(".")[2]


def _blocks(algorithm: str) -> list[str]:
    """The blocks of parameters that its options are made from."""
    # Late: torch takes seconds to import, and other commands do without.
    from fedmeta.core.algorithms import ALGORITHMS, blocks_of  # noqa: PLC0415

    return blocks_of(algorithm) if algorithm in ALGORITHMS else [algorithm]


def git_commit(project: Path) -> dict[str, str]:
    """The commit of the code, with "-dirty" where tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            command, cwd=project, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}  # no git, or no repository
    commit = answer.stdout.strip()
    return {"git_commit": commit, "mlflow.source.git.commit": commit}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
