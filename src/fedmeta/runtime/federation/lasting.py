"""The lasting process of a node: it holds torch and the data, and answers messages.

Flower starts a process for each message; that one asks here, over 127.0.0.1, with a
key that only the node's owner can read.

`python -m fedmeta.runtime.federation.lasting FOLDER` answers until it is ended.
"""

import argparse
import json
import logging
import secrets
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path

from fedmeta.core.allocator import keep_few_kernels
from fedmeta.data.files import write_private
from fedmeta.runtime.federation.messages import ANSWER, Message, Refused, receive, send

log = logging.getLogger(__name__)

ADDRESS = "address.json"  # in a node's folder: port and key of its lasting process
HOST = "127.0.0.1"
HIDDEN = ("kedro", "mlflow", "pandas")


def ask(folder: Path, question: Message) -> Message:
    """The answer of the lasting process of a node's folder.

    Raises:
        ConnectionError: where none answers.
        Refused: with what it says against the question.
    """
    start = f"start one: python -m fedmeta.runtime.federation.lasting {folder}"
    try:
        port, key = json.loads((folder / ADDRESS).read_text())
        connection = Client((HOST, port), authkey=bytes.fromhex(key))
    except OSError as error:
        raise ConnectionError(
            f"{folder}: its lasting process does not answer ({error}); {start}"
        ) from None
    with connection:
        send(connection, question)
        try:
            answer = receive(connection)
        except (EOFError, ConnectionResetError):
            raise ConnectionError(
                f"{folder}: its lasting process ended over a message; {start}"
            ) from None
    if refused := answer.values[ANSWER].get("refused"):
        raise Refused(refused)
    return answer


def serve(folder: Path, answer: Callable[[Message], Message]) -> None:
    """Answer one question after another, for ever."""
    key = secrets.token_bytes(32)
    with Listener((HOST, 0), authkey=key) as listener:
        address = json.dumps([listener.address[1], key.hex()])
        write_private(folder / ADDRESS, address.encode())
        log.info("%s: ready", folder)
        while True:
            try:
                with listener.accept() as connection:
                    question = receive(connection)
                    send(connection, _answered(question, answer))
            except (OSError, EOFError, AuthenticationError) as error:
                log.warning("a question was not answered: %s", error)


def _answered(question: Message, answer: Callable[[Message], Message]) -> Message:
    try:
        return answer(question)
    except Exception as error:  # whatever it is, the next question can be another
        log.exception("cannot answer a message of kind %s", question.kind)
        said = f"{error}" or type(error).__name__
        return Message(question.kind, {ANSWER: {"refused": said}}, {})


class _Without(MetaPathFinder):
    """Hides packages that no message needs.

    Where pandas is installed, pyarrow imports it, to recognise its tables: 60 MB.
    """

    def find_spec(self, name: str, *_: object) -> None:
        """Find nothing, and let the finders after this one find the others.

        Raises:
            ModuleNotFoundError: for a package that is hidden.
        """
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r} on a node", name=name)


def main() -> None:
    """Answer the messages of one node."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the node, as packed")
    parser.add_argument(
        "--rows",
        action="store_true",
        help="evaluations may leave the node as a row a client, not only as sums",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sys.meta_path.insert(0, _Without())
    keep_few_kernels(1)  # it outlives many trainings, and messages between them
    from fedmeta.runtime.federation.node import Node  # noqa: PLC0415

    serve(arguments.folder, Node(arguments.folder, arguments.rows).answer)


if __name__ == "__main__":
    main()
