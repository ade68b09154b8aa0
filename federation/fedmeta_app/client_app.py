"""On a node: hand each message to the node's lasting process.

Flower starts a process for every message, so that this one imports little: the lasting
process (`fedmeta.runtime.federation.lasting`) holds torch and the data.
"""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedmeta.runtime.federation.lasting import ask
from fedmeta.runtime.federation.records import from_records, to_records

app = ClientApp()


@app.query()
@app.train()
@app.evaluate()
def answer(message: Message, context: Context) -> Message:
    """The lasting process's answer. Its folder is ``folder`` of the node's config."""
    question = from_records(message.metadata.message_type, message.content)
    found = ask(Path(str(context.node_config["folder"])), question)
    return Message(to_records(found), reply_to=message)
