"""Which nodes are there, and which clients each of them holds."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from fedmeta.core.bounds import Count, Portion, Rate, Weight
from fedmeta.core.types import ClientId
from fedmeta.runtime.federation.job import Job
from fedmeta.runtime.federation.messages import ANSWER, JOB, QUERY, Message

log = logging.getLogger(__name__)

NodeId = int
QUERY_S = 600.0  # that a node has to say what it holds, for which it reads its records


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

    deadline: Rate = 600.0  # seconds that nodes have for a round
    least: Portion = 0.5  # share of a round's clients without whom it does not end
    megabytes: Weight = 128.0  # of updates in one answer: bounds memory
    nodes: Count = 1  # nodes without which nothing begins
    poll: Rate = 0.2  # seconds between two looks for answers
    pause: Weight = 5.0  # before nodes that have not answered are asked again


class Held(NamedTuple):
    """What a node has answered to the query for its clients."""

    node: NodeId
    clients: Mapping[ClientId, tuple[int, int]]  # records [start, stop) that are used
    checksum: str
    metadata: Mapping[str, str]
    columns: Mapping[str, Sequence[Any]]  # name -> type and widths of a record


class Roster:
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
            self.pause()

    def pause(self) -> None:
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
        asked = Job(job.version, job.benchmark, job.selection)
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
        try:
            held = _held(node, answer)
        except Exception as error:  # whatever it is, others may hold clients
            log.warning(
                "node %d takes no part: its answer cannot be read: %s", node, error
            )
            return
        for other in self._held.values():
            both = other.clients.keys() & held.clients
            if other.node in self._there and both:
                raise ValueError(
                    f"client {min(both)!r} is on node {other.node} and on node {node};"
                    " pack one of them with --numbers, or without that client"
                )
        self._held[node] = held
        log.info("node %d takes part, with %d clients", node, len(held.clients))

    def waited(self, receipt: str, end: float) -> Message | str:
        """The answer of a receipt, or why there is none until then."""
        while True:
            found = self.link.answers([receipt]).get(receipt)
            if found is not None:
                return found
            if time.monotonic() > end:
                return "no answer in time"
            time.sleep(self.terms.poll)


def _held(node: NodeId, answer: Message) -> Held:
    """What a node has answered.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: for anything else.
    """
    told = answer.values[ANSWER]
    columns = (told[name] for name in ("client_id", "start", "stop"))
    clients = {c: (int(a), int(b)) for c, a, b in zip(*columns, strict=True)}
    if not all(0 <= start <= stop for start, stop in clients.values()):
        raise ValueError("its records are numbered from 0")
    int(told["checksum"], 16)
    metadata, shapes = ({**told[name]} for name in ("metadata", "columns"))
    return Held(node, clients, told["checksum"], metadata, shapes)
