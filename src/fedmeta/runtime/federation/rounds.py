"""The server's side: messages to the nodes that hold clients, and what comes back.

Rounds here are a backend's. They give what `fedmeta.core.backends.sequential` would, in
the order of the cohort, and without the clients whose node is lost, slow or sends what
cannot be used.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from fedmeta.core.evaluation import metrics_of
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
ReadAnswer = Callable[[Message, ClientId, Held], Any]
ABSURD = 1e3  # an update's norm over that of the parameters (or 1): refused
# Deadlines that a message lives for: an answer in time waits until others have been
# waited for.
LIFETIMES = 2
AFTER = "after"  # client -> round: `Federation.updates`
ALL = "all clients of node"  # in place of a client's name
LOST = object()  # in place of a result


class _Asked(NamedTuple):
    """A question over clients, and how answers to it are read."""

    job: Job
    question: Message
    read: ReadAnswer
    called: str  # in the log
    at_once: int  # clients of a node in one message


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
        at_once = int(bytes_ // tree_nbytes(like)) or 1
        asked = _Asked(job, question, read, f"round {round_number}", at_once)
        yield from self._over(cohort, asked, self.terms.least)

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

        wanted, summed = {*clients}, set[NodeId]()

        def read(
            answer: Message, client: ClientId, held: Held
        ) -> dict[str, Any] | None:
            told = answer.values[ANSWER]
            if not told["summed"]:
                start, stop = held.clients[client]
                rows = {row["client_id"]: row for row in told["rows"]}
                return _checked_scores(rows[client], stop - start)
            if held.node in summed:
                return None
            (row,) = told["rows"]
            spans = [span for c, span in held.clients.items() if c in wanted]
            row = {**row, "client_id": f"{ALL} {held.node}"}
            row = _checked_scores(row, sum(stop - start for start, stop in spans))
            summed.add(held.node)  # in place of the first client's row
            return row

        question = _question(EVALUATE, job, codebook, meta, {"name": name})
        asked = _Asked(job, question, read, f"evaluation of {name}", len(clients))
        found = dict(self._over(clients, asked, self.terms.least))
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
        asked = _Asked(job, question, read, "counts for the encoding", len(clients))
        return added(summary for _, summary in self._over(clients, asked, 1.0))

    def _over(
        self, clients: Sequence[ClientId], asked: _Asked, least: float
    ) -> Iterator[tuple[ClientId, Any]]:
        """Yield results in the order of the clients, as many as there have to be.

        Clients without a result are asked for again only where less than the share
        ``least`` of all has one.
        """
        needed = math.ceil(least * len(clients))
        good, missing = 0, list(clients)
        while missing:
            once, missing = self._once(missing, asked), []
            for client, result in once:
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
                asked.called,
                good,
                len(clients),
                needed,
            )
            self.roster.pause()

    def _once(
        self, clients: Sequence[ClientId], asked: _Asked
    ) -> Iterator[tuple[ClientId, Any]]:
        """Yield each client with its result, or `LOST`.

        An answer is fetched when its first client's turn comes, and let go after its
        last's: the others wait where they are.
        """
        nodes, called = self.roster.held(asked.job, 1), asked.called
        holders = {client: held for held in nodes for client in held.clients}
        end = time.monotonic() + self.terms.deadline
        groups = list(_groups(clients, holders, asked.at_once))
        receipts = self.link.send(
            [(held.node, _asking(asked.question, group)) for held, group in groups],
            LIFETIMES * self.terms.deadline,
        )
        place = {c: i for i, (_, group) in enumerate(groups) for c in group}
        answers: dict[int, Message | str] = {}
        for client in clients:
            if client not in place:
                log.warning("%s: the node of client %s is not there", called, client)
                yield client, LOST
                continue
            at = place[client]
            held, group = groups[at]
            if client == group[0]:
                answers[at] = self.roster.waited(receipts[at], end)
                if isinstance(answers[at], str):
                    log.warning(
                        "%s: node %d is left out, with %d clients: %s",
                        called,
                        held.node,
                        len(group),
                        answers[at],
                    )
            answer = answers[at]
            if client == group[-1]:
                del answers[at]
            result = LOST
            if not isinstance(answer, str):
                try:
                    result = asked.read(answer, client, held)
                except Exception as error:  # whatever it is, others have answered
                    log.warning(
                        "%s: node %d: what it says of client %s is refused: %s",
                        called,
                        held.node,
                        client,
                        error,
                    )
            yield client, result


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
        ValueError: for an update that is not finite or of absurd norm, for a weight
            that is no share of its records, and for metrics that cannot be added up.
    """
    weight = torch.tensor(told["weight"])
    metrics = {name: torch.tensor(pair) for name, pair in told["metrics"].items()}
    if not is_finite([update, weight, metrics]):
        raise ValueError("it is not finite")
    if not 1 <= weight <= records:  # any of `core.algorithms.common.WEIGHTS`
        raise ValueError(f"its weight {float(weight):g} is none of {records} records")
    if any(pair.shape != (2,) for pair in metrics.values()):
        raise ValueError("its metrics are no pairs of sum and count")
    norm, most = _norm(update), ABSURD * max(1.0, _norm(meta))
    if norm > most:
        raise ValueError(f"its norm is {norm:.3g}, more than {most:.3g}")
    return ClientOutput(update, weight, metrics)


def _checked_scores(row: Mapping[str, Any], records: int) -> dict[str, Any]:
    """A row of scores, of clients with so many records.

    Raises:
        ValueError, TypeError, KeyError: for counts that are none of these records, and
            for other columns than `fedmeta.core.evaluation.evaluate_clients` has.
    """
    support, query = row["num_support"], row["num_query"]
    names = [f"{n}_sum_{w}" for n in metrics_of(row) for w in ("before", "after")]
    sums = {name: float(row[name]) for name in names}
    if row.keys() != {"client_id", "num_support", "num_query", *names}:
        raise ValueError(f"its scores are {', '.join(row)}")
    hits = [sums[f"accuracy_sum_{when}"] for when in ("before", "after")]
    if not (0 <= support < support + query <= records):
        raise ValueError(f"{support} and {query} are none of its {records} records")
    if not all(0 <= hit <= query for hit in hits):
        raise ValueError(f"{hits} are no hits among {query} records")
    return {**row, **sums}


def _norm(tree: Any) -> float:
    return math.sqrt(sum(float(leaf.square().sum()) for leaf in tree_leaves(tree)))
