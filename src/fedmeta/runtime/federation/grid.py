"""The way to nodes over Flower's Grid. This imports Flower."""

from collections.abc import Mapping, Sequence

import flwr.app
from flwr.serverapp import Grid

from fedmeta.runtime.federation.messages import Message
from fedmeta.runtime.federation.patience import ask_again_soon
from fedmeta.runtime.federation.records import from_records, to_records
from fedmeta.runtime.federation.roster import NodeId


class GridLink:
    """A `fedmeta.runtime.federation.roster.Link` over the Grid of a ServerApp."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        ask_again_soon()

    def nodes(self) -> Sequence[NodeId]:
        """Nodes whose heartbeat Flower hears."""
        return list(self._grid.get_node_ids())

    def send(
        self, questions: Sequence[tuple[NodeId, Message]], lifetime: float
    ) -> Sequence[str]:
        """Push messages; a receipt is a message's id, or "" where it was refused."""
        messages = [
            flwr.app.Message(to_records(question), node, question.kind, ttl=lifetime)
            for node, question in questions
        ]
        return [receipt or "" for receipt in self._grid.push_messages(messages)]

    def answers(self, receipts: Sequence[str]) -> Mapping[str, Message | str]:
        """Pull what has come. Flower answers for a node that it has lost."""
        found: dict[str, Message | str] = {}
        if "" in receipts:
            found[""] = "Flower did not take the message"
        for reply in self._grid.pull_messages([r for r in receipts if r]):
            # Not by its sender: Flower's own answers have another one.
            receipt = reply.metadata.reply_to_message_id
            if reply.has_error():
                found[receipt] = f"{reply.error.reason}" or "lost"
                continue
            try:
                kind = reply.metadata.message_type
                found[receipt] = from_records(kind, reply.content)
            except Exception as error:  # whatever it is, others have answered
                found[receipt] = f"its answer cannot be read: {error}"
        return found
