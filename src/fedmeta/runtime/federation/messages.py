"""What server and nodes tell each other, and how it goes between two processes.

A message has named blocks of values and named groups of arrays. Between machines it
travels as Flower's records (`fedmeta.runtime.federation.records`), between the two
processes of a node as JSON and safetensors: nothing in it is code.
"""

import json
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

Arrays = Mapping[str, np.ndarray]

# Kinds: those that Flower has. With work, a query asks for counts over clients.
QUERY, TRAIN, EVALUATE = "query", "train", "evaluate"
JOB, WORK, ANSWER = "job", "work", "answer"  # blocks of values
META, CODEBOOK, UPDATE = "meta", "codebook", "update"  # groups of arrays; update.<i>


class Message(NamedTuple):
    """A question to a node, or its answer."""

    kind: str
    values: Mapping[str, Mapping[str, Any]]  # block -> name -> JSON value
    arrays: Mapping[str, Arrays]  # group -> name -> array


class Refused(ValueError):
    """A node's answer that says why it does not do what was asked."""


def send(connection: Connection, message: Message) -> None:
    """Write a message to another process of this machine."""
    connection.send_bytes(json.dumps([message.kind, message.values]).encode())
    connection.send_bytes(packed(message.arrays))


def receive(connection: Connection) -> Message:
    """Read a message that `send` wrote.

    Raises:
        EOFError: where the other process has ended.
    """
    kind, values = json.loads(connection.recv_bytes())
    return Message(kind, values, unpacked(connection.recv_bytes()))


def packed(arrays: Mapping[str, Arrays]) -> bytes:
    """Groups of arrays as one file of safetensors."""
    named = {
        f"{group}/{name}": np.ascontiguousarray(array)
        for group, held in arrays.items()
        for name, array in held.items()
    }
    return save(named)


def unpacked(content: bytes) -> dict[str, dict[str, np.ndarray]]:
    """The groups of arrays that `packed` was given.

    Raises:
        ValueError: for other bytes.
    """
    arrays: dict[str, dict[str, np.ndarray]] = {}
    try:
        for path, array in load(content).items():
            group, _, name = path.partition("/")
            arrays.setdefault(group, {})[name] = array
    except SafetensorError as error:
        raise ValueError(f"its arrays cannot be read: {error}") from None
    return arrays
