"""The server's side: messages to the nodes that hold clients, and what comes back.

Rounds here are a backend's. They give what `fedmeta.core.backends.sequential` would, in
the order of the cohort, and without the clients whose node is lost, slow or sends what
cannot be used.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch

from fedmeta.core.trees import is_finite, tree_leaves, tree_nbytes
from fedmeta.core.types import ClientId, ClientOutput, MetaParams
from fedmeta.data.encoding import Codebook
from fedmeta.options import compression_from
from fedmeta.runtime.federation.job import Job
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
from fedmeta.runtime.federation.trees import arrays_of, tree_like

log = logging.getLogger(__name__)

NodeId = int
# (answer, client, what its node holds) -> the client's result; ValueError: refused
Read = Callable[[Message, ClientId, "Held"], Any]
ABSURD = 1e3  # an update's norm over that of the parameters (or 1): refused
QUERY_S = 600.0  # that a node has to say what it holds, for which it reads its records
# Deadlines that a message lives for: an answer in time waits until others have been
# waited for.
LIFETIMES = 2
ALL = "all clients of node"  # in place of a client's name
LOST = object()  # in place of a result


class Link(Protocol):
    """The way to the nodes: Flower's Grid, or a stand-in of a test."""

    def nodes(self) -> Sequence[NodeId]:
        """Those that can be reached now."""

    def send(
        self, questions: Sequence[tuple[NodeId, Message]], lifetime: float
    ) -> Sequence[str]:
        """Send each to its node, for so many seconds; return a receipt for each."""

    def answers(self, receipts: Sequence[str]) -> Mapping[str, Message | str]:
        """What has come for some receipts: an answer, or why there will be none."""


class Terms(NamedTuple):
    """What a federation waits for."""

    deadline: float = 600.0  # seconds that nodes have for a round
    least: float = 0.5  # share of a round's clients without whom it does not end
    megabytes: float = 128.0  # of updates in one answer: bounds memory
    nodes: int = 1  # nodes without which nothing begins
    poll: float = 0.2  # seconds between two looks for answers
    pause: float = 5.0  # before nodes that have not answered are asked again


class Held(NamedTuple):
    """What a node has answered to the query for its clients."""

    node: NodeId
    clients: Mapping[ClientId, tuple[int, int]]  # records [start, stop) that are used
    checksum: str
    metadata: Mapping[str, str]
    columns: Mapping[str, Sequence[Any]]  # name -> type and widths of a record


class Federation:
    """The nodes that are there, with the clients that each holds.

    Args:
        link: the way to them.
        terms: what is waited for.
    """

    def __init__(self, link: Link, terms: Terms) -> None:
        self.link, self.terms = link, terms
        self._held: dict[NodeId, Held] = {}
        self._there: set[NodeId] = set()  # that can be reached
        self._asked: set[NodeId] = set()  # of those, whose answer is known

    def held(self, job: Job, least: int | None = None) -> list[Held]:
        """The clients of every node that can be reached.

        Args:
            job: whose selection is asked for.
            least: nodes that are waited for; None: those without which nothing begins.

        Raises:
            ValueError: for a client that two nodes hold.
        """
        least, told = least or self.terms.nodes, -1
        while True:
            self._look(job)
            found = [self._held[n] for n in sorted(self._there & self._held.keys())]
            if len(found) >= least:
                return found
            if told != len(found):
                told = len(found)
                log.warning(
                    "waiting for nodes: %d take part, and %d are needed",
                    told,
                    least,
                )
            self._pause()

    def updates(
        self,
        job: Job,
        codebook: Codebook,
        meta: MetaParams,
        cohort: Sequence[ClientId],
        round_number: int,
    ) -> Iterator[tuple[ClientId, ClientOutput]]:
        """Yield each client's output; those that are lost are left out."""
        compression = compression_from(job.compression) if job.compression else None
        like = meta if compression is None else compression.pack(meta)

        def read(answer: Message, client: ClientId, held: Held) -> ClientOutput:
            told = answer.values[ANSWER]["clients"]
            place = [row["client"] for row in told].index(client)
            start, stop = held.clients[client]
            arrays = answer.arrays[f"{UPDATE}.{place}"]
            sent = tree_like(like, arrays)
            update = sent if compression is None else compression.unpack(sent, meta)
            return _checked(told[place], update, meta, stop - start)

        work = {"round_number": round_number}
        question = _question(TRAIN, job, codebook, meta, work)
        bytes_ = self.terms.megabytes * 1e6
        called, at_once = f"round {round_number}", int(bytes_ // tree_nbytes(like)) or 1
        yield from self._over(cohort, job, question, read, at_once, called)

    def scores(
        self,
        job: Job,
        codebook: Codebook,
        name: str,
        meta: MetaParams,
        clients: Sequence[ClientId],
    ) -> Iterator[dict[str, str | int | float]]:
        """Yield rows as `fedmeta.core.evaluation.evaluate_clients` does.

        A node that tells sums only has one row for all of its clients.
        """

        def read(
            answer: Message, client: ClientId, held: Held
        ) -> dict[str, Any] | None:
            rows = answer.values[ANSWER]["rows"]
            if answer.values[ANSWER]["summed"]:  # in place of the first client's row
                return (
                    {**rows.pop(), "client_id": f"{ALL} {held.node}"} if rows else None
                )
            told: dict[str, Any] = {row["client_id"]: row for row in rows}[client]
            return told

        question = _question(EVALUATE, job, codebook, meta, {"name": name})
        called, at_once = f"evaluation of {name}", len(clients)
        found = dict(self._over(clients, job, question, read, at_once, called))
        yield from (found[c] for c in clients if found.get(c) is not None)

    def _over(
        self,
        clients: Sequence[ClientId],
        job: Job,
        question: Message,
        read: Read,
        at_once: int,
        called: str,
    ) -> Iterator[tuple[ClientId, Any]]:
        """Yield results in the order of the clients, as many as there have to be.

        Clients without a result are asked for again only where too few have one.
        """
        least = math.ceil(self.terms.least * len(clients))
        good, missing = 0, list(clients)
        while missing:
            held = {c: held for held in self.held(job, 1) for c in held.clients}
            sent = _Sent(self, question, missing, held, at_once, called)
            missing = []
            for client, result in sent.results(read):
                if result is LOST:
                    missing.append(client)
                else:
                    good += 1
                    yield client, result
            if good >= least:
                return
            log.warning(
                "%s: %d of %d clients have answered, and %d are needed: waiting for"
                " nodes",
                called,
                good,
                len(clients),
                least,
            )
            self._pause()

    def _pause(self) -> None:
        """Wait, and let nodes that have not said what they hold be asked again."""
        time.sleep(self.terms.pause)
        self._asked &= self._held.keys()

    def _look(self, job: Job) -> None:
        """Note who has come and gone, and ask those that are new what they hold."""
        there = set(self.link.nodes())
        for node in sorted(self._there - there):
            log.warning("node %d cannot be reached any more", node)
        self._there, self._asked = there, self._asked & there
        new = sorted(there - self._asked)
        asked = job._replace(
            partition={}, model={}, names=(), blocks={}, codebook="", tasks={}
        )
        question = Message(QUERY, {JOB: asked._asdict()}, {})
        questions = [(node, question) for node in new]
        receipts = self.link.send(questions, QUERY_S) if new else []
        end = time.monotonic() + QUERY_S
        for node, receipt in zip(new, receipts, strict=True):
            self._note(node, self.waited(receipt, end))

    def _note(self, node: NodeId, answer: Message | str) -> None:
        self._asked.add(node)
        self._held.pop(node, None)
        if isinstance(answer, str):
            log.warning("node %d takes no part: %s", node, answer)
            return
        told = answer.values[ANSWER]
        columns = (told[name] for name in ("client_id", "start", "stop"))
        clients = {c: (a, b) for c, a, b in zip(*columns, strict=True)}
        for other in self._held.values():
            if other.node in self._there and (both := other.clients.keys() & clients):
                raise ValueError(
                    f"client {min(both)!r} is on node {other.node} and on node {node};"
                    " pack one of them with --numbers, or without that client"
                )
        self._held[node] = Held(
            node, clients, told["checksum"], told["metadata"], told["columns"]
        )
        log.info("node %d takes part, with %d clients", node, len(clients))

    def waited(self, receipt: str, end: float) -> Message | str:
        """The answer of a receipt, or why there is none until then."""
        while True:
            found = self.link.answers([receipt]).get(receipt)
            if found is not None:
                return found
            if time.monotonic() > end:
                return "no answer in time"
            time.sleep(self.terms.poll)


class _Sent:
    """A question on its way to the nodes of some clients, and the answers."""

    def __init__(
        self,
        federation: Federation,
        question: Message,
        clients: Sequence[ClientId],
        held: Mapping[ClientId, Held],
        at_once: int,
        called: str,
    ) -> None:
        self.federation, self.clients, self.called = federation, clients, called
        self.end = time.monotonic() + federation.terms.deadline
        self.groups = list(_groups(clients, held, at_once))
        self.receipts = federation.link.send(
            [(held.node, _asking(question, group)) for held, group in self.groups],
            LIFETIMES * federation.terms.deadline,
        )
        self.place = {c: i for i, (_, group) in enumerate(self.groups) for c in group}
        self.answers: dict[int, Message | str] = {}

    def results(self, read: Read) -> Iterator[tuple[ClientId, Any]]:
        """Yield each client with its result, or `LOST`.

        An answer is fetched when its first client's turn comes, and let go after its
        last's: the others wait where they are.
        """
        for client in self.clients:
            if client not in self.place:
                log.warning(
                    "%s: the node of client %s is not there", self.called, client
                )
                yield client, LOST
                continue
            place = self.place[client]
            held, group = self.groups[place]
            if client == group[0]:
                self.answers[place] = self._answer(place)
            answer = self.answers[place]
            if client == group[-1]:
                del self.answers[place]
            yield (
                client,
                LOST
                if isinstance(answer, str)
                else self._read(read, answer, client, held),
            )

    def _answer(self, place: int) -> Message | str:
        answer = self.federation.waited(self.receipts[place], self.end)
        if isinstance(answer, str):
            held, group = self.groups[place]
            log.warning(
                "%s: node %d is left out, with %d clients: %s",
                self.called,
                held.node,
                len(group),
                answer,
            )
        return answer

    def _read(self, read: Read, answer: Message, client: ClientId, held: Held) -> Any:
        try:
            return read(answer, client, held)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            log.warning(
                "%s: node %d: what it says of client %s is refused: %s",
                self.called,
                held.node,
                client,
                error,
            )
            return LOST


def _groups(
    clients: Sequence[ClientId], held: Mapping[ClientId, Held], at_once: int
) -> Iterator[tuple[Held, list[ClientId]]]:
    """The clients of each node, in their order, ``at_once`` in a group."""
    by_node: dict[NodeId, list[ClientId]] = {}
    for client in clients:
        if client in held:
            by_node.setdefault(held[client].node, []).append(client)
    for own in by_node.values():
        for start in range(0, len(own), at_once):
            yield held[own[0]], own[start : start + at_once]


def _question(
    kind: str, job: Job, codebook: Codebook, meta: MetaParams, work: Mapping[str, Any]
) -> Message:
    arrays = {META: arrays_of(meta), CODEBOOK: arrays_of(codebook.tables)}
    return Message(kind, {JOB: job._asdict(), WORK: work}, arrays)


def _asking(question: Message, clients: Sequence[ClientId]) -> Message:
    """The question for some clients; its arrays are those of all."""
    work = {**question.values[WORK], "clients": clients}
    return question._replace(values={**question.values, WORK: work})


def _checked(
    told: Mapping[str, Any], update: MetaParams, meta: MetaParams, records: int
) -> ClientOutput:
    """A client's output.

    Raises:
        ValueError: for an update that is not finite or of absurd norm, and for a weight
            that is no share of its records.
    """
    weight = torch.tensor(told["weight"])
    metrics = {name: torch.tensor(pair) for name, pair in told["metrics"].items()}
    if not is_finite([update, weight, metrics]):
        raise ValueError("it is not finite")
    if not 0 <= weight <= records:
        raise ValueError(f"its weight {float(weight):g} is none of {records} records")
    norm, most = _norm(update), ABSURD * max(1.0, _norm(meta))
    if norm > most:
        raise ValueError(f"its norm is {norm:.3g}, more than {most:.3g}")
    return ClientOutput(update, weight, metrics)


def _norm(tree: Any) -> float:
    return math.sqrt(sum(float(leaf.square().sum()) for leaf in tree_leaves(tree)))


_current: list[Federation] = []  # of this process, at most one


@contextmanager
def taking_part(federation: Federation) -> Iterator[None]:
    """Make a federation that of this process for a while."""
    _current.append(federation)
    try:
        yield
    finally:
        _current.pop()


def is_taking_part() -> bool:
    """Whether this process has a federation."""
    return bool(_current)


def current() -> Federation:
    """The federation of this process.

    Raises:
        ValueError: outside of Flower.
    """
    if not _current:
        raise ValueError(
            "clients on nodes are reached from inside Flower: make"
            " federation, or flwr run federation (docs/how-to/federation.md)"
        )
    return _current[-1]
