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
from typing import Any

import torch

from fedmeta.core.trees import is_finite, tree_leaves, tree_nbytes
from fedmeta.core.types import ClientId, ClientOutput, MetaParams
from fedmeta.data.encoding import Codebook
from fedmeta.data.summaries import Summary, added, from_json
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
from fedmeta.runtime.federation.roster import Held, Link, NodeId, Roster, Terms
from fedmeta.runtime.federation.trees import arrays_of, tree_like

log = logging.getLogger(__name__)

# (answer, client, what its node holds) -> the client's result; ValueError: refused
Read = Callable[[Message, ClientId, Held], Any]
ABSURD = 1e3  # an update's norm over that of the parameters (or 1): refused
# Deadlines that a message lives for: an answer in time waits until others have been
# waited for.
LIFETIMES = 2
AFTER = "after"  # client -> round: `Federation.updates`
ALL = "all clients of node"  # in place of a client's name
LOST = object()  # in place of a result


class Federation:
    """Rounds over the nodes that are there.

    Args:
        link: the way to them.
        terms: what is waited for.
    """

    def __init__(self, link: Link, terms: Terms) -> None:
        self.link, self.terms = link, terms
        self.roster = Roster(link, terms)

    def updates(
        self,
        job: Job,
        codebook: Codebook,
        meta: MetaParams,
        cohort: Sequence[ClientId],
        round_number: int,
        after: Mapping[ClientId, int] = {},
        settled: int = 0,
    ) -> Iterator[tuple[ClientId, ClientOutput]]:
        """Yield each client's output; those that are lost are left out.

        Args:
            job: of the training.
            codebook: that goes with it.
            meta: what clients start from.
            cohort: who they are.
            round_number: of the round.
            after: the round after which a client's state counts, for those that keep
                one and have taken part.
            settled: the round of the last checkpoint.
        """
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

        work = {"round_number": round_number, AFTER: after, "settled": settled}
        question = _question(TRAIN, job, codebook, meta, work)
        bytes_ = self.terms.megabytes * 1e6
        called, at_once = f"round {round_number}", int(bytes_ // tree_nbytes(like)) or 1
        least = self.terms.least
        yield from self._over(cohort, job, question, read, at_once, called, least)

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
        least = self.terms.least
        found = dict(self._over(clients, job, question, read, at_once, called, least))
        yield from (found[c] for c in clients if found.get(c) is not None)

    def summary(self, job: Job, clients: Sequence[ClientId]) -> Summary:
        """What nodes count over the used records of clients, all of them.

        Args:
            job: of which the benchmark and the selection count.
            clients: who they are; the nodes of all are waited for.
        """

        def read(answer: Message, client: ClientId, held: Held) -> Summary:
            told = answer.values[ANSWER]["summaries"]
            summary = from_json(told[0]) if told else {}
            told.clear()  # its node's first client has it, the others nothing
            return summary

        question = Message(QUERY, {JOB: job._asdict(), WORK: {}}, {})
        called, at_once = "counts for the encoding", len(clients)
        found = self._over(clients, job, question, read, at_once, called, 1.0)
        return added(summary for _, summary in found)

    def _over(
        self,
        clients: Sequence[ClientId],
        job: Job,
        question: Message,
        read: Read,
        at_once: int,
        called: str,
        least: float,  # share of the clients
    ) -> Iterator[tuple[ClientId, Any]]:
        """Yield results in the order of the clients, as many as there have to be.

        Clients without a result are asked for again only where too few have one.
        """
        needed = math.ceil(least * len(clients))
        good, missing = 0, list(clients)
        while missing:
            held = {c: held for held in self.roster.held(job, 1) for c in held.clients}
            sent = _Sent(self, question, missing, held, at_once, called)
            missing = []
            for client, result in sent.results(read):
                if result is LOST:
                    missing.append(client)
                else:
                    good += 1
                    yield client, result
            if good >= needed:
                return
            log.warning(
                "%s: %d of %d clients have answered, and %d are needed: waiting for"
                " nodes",
                called,
                good,
                len(clients),
                needed,
            )
            self.roster.pause()


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
        answer = self.federation.roster.waited(self.receipts[place], self.end)
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
    if AFTER in work:
        work[AFTER] = {c: work[AFTER][c] for c in clients if c in work[AFTER]}
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
