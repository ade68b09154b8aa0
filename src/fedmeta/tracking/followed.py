"""What a Kedro run has shown of itself so far, and the records that it makes."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fedmeta import identity
from fedmeta.identity import ROUND_LOOP
from fedmeta.tracking.measures import experiment_name, run_name, run_parameters
from fedmeta.tracking.owners import Marked, Owner, owner_of, round_loop
from fedmeta.tracking.record import (
    FINISHED,
    RECORDS,
    REPORTED,
    Record,
    find,
    lost_records,
    milliseconds,
    spent,
)
from fedmeta.tracking.sender import RESULTS, Sender

DIGEST = 36  # characters that MLflow takes; all of it is a tag


@dataclass
class Seen:
    """What a node has shown of itself."""

    began: int = 0  # when, in milliseconds
    tags: dict[str, str] = field(default_factory=dict)  # of the data that it reads
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)  # `Record.inputs`
    metadata: dict[str, str] = field(default_factory=dict)  # of the data that it reads
    codebook: Path | None = None
    checkpoint: tuple[str, str, Path] | None = None  # fingerprint, rounds, file

    def note_checkpoint(self, data: Any, file: Path) -> None:
        """Note what it has read or written of a training's state."""
        self.checkpoint = (data.fingerprint, str(data.rounds), file.resolve())


@dataclass
class Followed:
    """State of the current Kedro run, and what is recorded of it."""

    project: Path  # its folder
    pipeline: Pipeline
    parameters: dict[str, Any]  # of all benchmarks and studies
    marked: dict[str, Marked]  # dataset -> its mark and file
    tags: dict[str, str]  # of every MLflow run
    named: dict[str, Any]  # the globals, which folders are named by
    sender: Sender
    seen: dict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))  # by node
    records: dict[Owner, Record] = field(default_factory=dict)
    artifacts: set[str] = field(default_factory=set)  # of that mark that were saved

    def record(
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
        owner, place = owner_of(dataset), self.marked[dataset].file.parent
        held = self.records.get(owner)
        if held is not None and (history is None or held.agrees(history)):
            return held
        seen = self.seen[node.name]
        parameters, loop = self._parameters(owner, node), round_loop(node)
        # What only counts, as MFU does, has no rounds, and its results no seed.
        seeded = seen.checkpoint is not None or any(
            name.endswith(f".{ROUND_LOOP}") for name in parameters
        )
        made_with = results.attrs.get("settings", parameters)
        fingerprint, rounds, _ = seen.checkpoint or (
            identity.fingerprint(made_with),  # what only counts has no checkpoint
            parameters.get(f"{loop}.rounds", ""),
            None,
        )
        code = {k: v for k, v in made_with.items() if k.startswith("code.")}
        tags = {
            **self.tags,
            **seen.tags,
            "algorithm": owner.algorithm,
            "fingerprint": fingerprint,
            "rounds": rounds,
            **results.attrs.get("environment", {}),
            "code": json.dumps(code),  # hashes of modules: `fedmeta.identity`
            "benchmark": owner.benchmark,
            "support_fraction": parameters.get("partition.support_fraction", ""),
            "seed": str(self.named["seed"]) if seeded else "",
            "group": relpath(place, self.project / RESULTS),
        }
        home = place / RECORDS
        # MLflow keeps a parameter's first value, so that a training that goes on to
        # more rounds than it was asked for is another run, with the whole history.
        key = (owner.algorithm, fingerprint[:12], rounds)
        stand_in = seen.tags.get("data_name", "")
        if seen.tags.get("source") != "real":
            stand_in = f"synthetic {self.tags['store']}"
        experiment = experiment_name(owner.benchmark, stand_in)
        folder, record = find(home / "-".join(filter(None, key)), experiment, history)
        if record is None:
            name = run_name(owner.algorithm, self.named)
            note = "Not results of the benchmark's own data." if stand_in else ""
            record = Record(folder, experiment, name, note)
            # As if it had been trained without a stop until now.
            timing = results.attrs.get("timing", [])
            record.began = milliseconds() - spent(timing) if timing else seen.began
        context = "evaluation" if history is None else "training"
        for data, facts in seen.inputs.items():
            record.inputs.setdefault(data, {**facts, "context": context})
        record.resume(tags, parameters)
        for lost in lost_records(home, owner.algorithm, but=folder):
            self.sender.put(lost.folder)
        self.records[owner] = record
        return record

    def report(self, names: list[str]) -> None:
        """Record what the runs of this pipeline have in common: as a run of its own.

        In each of them it would be there many times, and in the first of them nobody
        would look. Without an algorithm it is no run of a training to whoever compares.

        Args:
            names: of the datasets.
        """
        runs = [self.records[owner] for owner in sorted(self.records)]
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
        base = first.folder.with_name(f"report-{key[:12]}")
        folder, record = find(base, experiment, history=None)
        if record is None:
            name = run_name("report", self.named)
            guard = first.guard or first.tags["algorithm"]
            record = Record(folder, experiment, name, first.note, guard=guard)
        record.resume(
            {
                **self.tags,
                "benchmark": benchmark,
                "group": first.tags["group"],
                "support_fraction": str(self.named["support_fraction"]),
                "seed": str(self.named["seed"]),
                REPORTED: ", ".join(compared),
            },
            {},
        )
        record.files = {}
        for dataset in names:
            record.keep(self.marked[dataset].file, "report")
        record.end(FINISHED)
        self.put(record)

    def described(
        self, name: str, checksum: str, profile: Mapping[str, int] | None = None
    ) -> dict[str, str]:
        """Describe a data set as `mlflow.data` does.

        Its place is relative to the project, which may be moved.
        """
        file = self.marked[name].file
        place = self.relative(file.resolve()) if file.name else name  # in memory
        return {
            "digest": checksum[:DIGEST],
            "source": json.dumps({"uri": place}),
            "profile": json.dumps(profile or {}),
        }

    def put(self, record: Record) -> None:
        """Write a record, and have MLflow told of it."""
        record.write()
        self.sender.put(record.folder)

    def relative(self, path: Path) -> str:
        """A path below the project."""
        return relpath(path, self.project.resolve())

    def end(self, status: str, error: str, limit: float) -> None:
        """End all records, and wait at most ``limit`` seconds for MLflow."""
        for record in self.records.values():
            record.end(status, error)
            self.put(record)
        self.sender.finish(limit)

    def _parameters(self, owner: Owner, node: Node) -> dict[str, str]:
        """Parameters of the node and of all that led to it."""
        line = self.pipeline.to_nodes(node.name).inputs()
        parameters = self.parameters[owner.benchmark]
        prefix = f"params:{owner.benchmark}."
        names = {name.removeprefix(prefix) for name in line if name.startswith(prefix)}
        blocks = {key: parameters[key] for key in parameters if key in names}
        for name in line:  # a study is of data that are divided under another name
            home, _, block = name.removeprefix("params:").partition(".")
            if block == "partition":
                blocks.setdefault(block, self.parameters[home][block])
        # Of a training that starts from another's checkpoint its own options count.
        trained = self._checkpoints(node.outputs) or self._checkpoints(node.inputs)
        others = {
            block
            for name, (mark, _) in self.marked.items()
            if mark in ("history", "scores")
            for block in _blocks(owner_of(name).algorithm)
        }
        own = dict.fromkeys(
            block for name in (*trained, owner.algorithm) for block in _blocks(name)
        )
        return run_parameters(blocks, list(own), others - set(own))

    def _checkpoints(self, datasets: list[str]) -> list[str]:
        """Algorithms whose checkpoints are among the datasets."""
        return [
            owner_of(name).algorithm
            for name in datasets
            if name in self.marked and self.marked[name].mark == "checkpoint"
        ]


def _blocks(algorithm: str) -> list[str]:
    """The blocks of parameters that its options are made from."""
    # Late: torch takes seconds to import, and other commands do without.
    from fedmeta.core.algorithms import ALGORITHMS, blocks_of  # noqa: PLC0415

    return blocks_of(algorithm) if algorithm in ALGORITHMS else [algorithm]
