"""What a node answers: which clients it holds, their updates, their evaluation.

This runs where the data are. It reads the node's own packed records and nothing else,
and imports neither Kedro nor MLflow nor pandas. What leaves the node is what the
functions of this module return.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedmeta.assembly import Assembled, assemble
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.backends import sequential
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.core.types import ClientId, MakeTask, MetaParams
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset, read_packed
from fedmeta.data.ids import Ids
from fedmeta.data.states import STATES, ClientStates
from fedmeta.data.summaries import to_json
from fedmeta.data.tasks import Episode, task_maker
from fedmeta.data.vocabularies import LISTS, recoded
from fedmeta.identity import fingerprint
from fedmeta.options import compression_from
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.kept import keep
from fedmeta.runtime.federation.messages import (
    ANSWER,
    CODEBOOK,
    EVALUATE,
    JOB,
    META,
    QUERY,
    TRAIN,
    UPDATE,
    WORK,
    Message,
)
from fedmeta.runtime.federation.tables import RECORDS, tables_of
from fedmeta.runtime.federation.trees import arrays_of, tensors_of, tree_like
from fedmeta.runtime.on_worker import version

# Metadata of the records that are told.
HELD = (
    "synthetic",
    "name",
    "ordered",
    "roles",
    "numbers",
    "shape",
    "lowercase",
    *LISTS,
)


class _Work(NamedTuple):
    """What a job's messages are answered with."""

    job: Job
    built: Assembled
    like: MetaParams  # parameters as they are expected
    training_task: MakeTask
    evaluation_task: MakeTask
    states: ClientStates  # of this job's clients


class Node:
    """The answers of one node.

    Args:
        folder: with its packed records.
        rows: whether an evaluation is told as a row a client, or as their sums.
    """

    def __init__(self, folder: Path, rows: bool = False) -> None:
        self.folder, self.rows = folder, rows
        self._work: tuple[str, _Work] | None = None

    def answer(self, question: Message) -> Message:
        """Answer a message of any kind.

        Raises:
            ValueError: for one that this node cannot or will not answer.
        """
        job = Job(**question.values[JOB])
        if job.version != version():
            raise ValueError(
                "another version of this package or of torch than the server's: install"
                " the same, and start the lasting process again"
            )
        if question.kind == QUERY:
            counted = question.values.get(WORK)
            return self._held(job) if counted is None else self._summary(job, **counted)
        work = self._ready(job, question)
        meta = tree_like(work.like, question.arrays[META])
        told: Any = self._trained if question.kind == TRAIN else self._evaluated
        answer = told(work, meta, **question.values[WORK])
        keep(self.folder, job, question)
        return answer

    def _held(self, job: Job) -> Message:
        """Names and sizes of the clients that a selection keeps, and what records are.

        Of the records themselves: their columns' names, types and widths.
        """
        records = self._records()
        table = tables_of(self.folder, job).clients
        columns = records.columns(records.client_ids[0])
        answer = {
            **{name: table[name].to_pylist() for name in table.column_names},
            "checksum": records.checksum,
            "metadata": {k: v for k, v in records.metadata.items() if k in HELD},
            "columns": {n: [c.dtype.str, *c.shape[1:]] for n, c in columns.items()},
        }
        return Message(QUERY, {ANSWER: answer}, {})

    def _summary(self, job: Job, clients: Sequence[ClientId]) -> Message:
        """What the benchmark's encoding counts over the used records of clients."""
        summary, asked = BENCHMARKS[job.benchmark].summary, {*clients}
        if summary is None:
            raise ValueError(f"{job.benchmark}: its encoding takes more than counts")
        table = tables_of(self.folder, job).clients
        columns = (table[c].to_pylist() for c in ("client_id", "start", "stop"))
        spans = [span for span in zip(*columns, strict=True) if span[0] in asked]
        counted = to_json(summary(self._records(), spans))
        return Message(QUERY, {ANSWER: {"summaries": [counted]}}, {})

    def _trained(
        self,
        work: _Work,
        meta: MetaParams,
        clients: Sequence[ClientId],
        round_number: int,
        after: Mapping[ClientId, int] = {},
        settled: int = 0,
    ) -> Message:
        """For each client its update, its weight and (sum, count) metrics.

        Updates are compressed where the job says so. What clients keep for later rounds
        stays here.
        """
        algorithm = work.built.algorithms[work.job.names[0]]
        function = algorithm.client_update
        if work.job.compression is not None:
            function = compression_from(work.job.compression).sending(function)
        make_task, states = work.training_task, work.states
        if algorithm.client_state is not None:
            initial = algorithm.client_state(meta)
            make_task = states.given_after(make_task, initial, after)
            states.settle(settled)
        for_each = sequential(function, make_task)
        told, updates = [], {}
        for place, (client, output) in enumerate(for_each(meta, clients, round_number)):
            metrics = {name: pair.tolist() for name, pair in output.metrics.items()}
            weight = float(output.weight)
            told.append({"client": client, "weight": weight, "metrics": metrics})
            updates[f"{UPDATE}.{place}"] = arrays_of(output.update)
            if algorithm.client_state is not None:
                states.keep(client, round_number, output.state)
        return Message(TRAIN, {ANSWER: {"clients": told}}, updates)

    def _evaluated(
        self, work: _Work, meta: MetaParams, clients: Sequence[ClientId], name: str
    ) -> Message:
        """Sums of scores before and after adaptation, a row a client or one for all."""
        rows = list(
            evaluate_clients(
                work.built.algorithms[name],
                work.built.model,
                meta,
                clients,
                work.evaluation_task,
                sequential,
                work.job.chunk,
            )
        )
        told = rows if self.rows else [_summed(rows)]
        answer = {"summed": not self.rows, "rows": told}
        return Message(EVALUATE, {ANSWER: answer}, {})

    def _records(self, vocabularies: Mapping[str, str] = {}) -> FederatedDataset:
        return recoded(read_packed(self.folder / RECORDS), vocabularies)

    def _ready(self, job: Job, question: Message) -> _Work:
        """The work of a job, kept until another one comes."""
        key = fingerprint(job._asdict())
        if self._work is None or self._work[0] != key:
            self._work = None  # the last one's data are let go first
            codebook = Codebook(tensors_of(question.arrays[CODEBOOK]), "")
            records = self._records(job.vocabularies)
            made = _prepared(records, self.folder, job, codebook, key)
            self._work = key, made
        return self._work[1]


def _prepared(
    records: FederatedDataset, folder: Path, job: Job, codebook: Codebook, key: str
) -> _Work:
    # As in every process that computes clients: the result depends on it.
    torch.set_num_threads(1)
    benchmark = BENCHMARKS[job.benchmark]
    encoding = benchmark.encoding(codebook)
    model = partial(benchmark.model, **encoding.sizes)
    built = assemble(model, job.model, job.names, job.blocks, job.chunk)
    made = tables_of(folder, job)
    drawn = {**job.tasks}
    if drawn.get("episode") is not None:
        drawn["episode"] = Episode(**drawn["episode"])
    trained = built.algorithms[job.names[0]]
    tasks: Any = partial(
        task_maker, records, made.clients, made.support_query, encoding
    )
    return _Work(
        job,
        built,
        trained.init(built.model.init(0)).meta,
        tasks(passes=trained.passes, **drawn),
        tasks(seed=drawn["seed"]),
        ClientStates(folder / STATES / key, Ids(records.client_ids)),
    )


def _summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in rows[0] if name != "client_id"]
    return {name: sum(row[name] for row in rows) for name in names}
