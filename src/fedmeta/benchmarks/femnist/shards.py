"""LEAF's labels, and its JSON shards, written one client at a time."""

from collections.abc import Mapping
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

import numpy as np
import orjson

from fedmeta.data.files import whole_file

CHARACTERS = digits + ascii_uppercase + ascii_lowercase  # labels 0..61
CLIENTS_A_SHARD = 100  # as LEAF's all_data_*.json


def write_shard(
    path: Path, clients: Mapping[str, tuple[np.ndarray, np.ndarray]], **about: str
) -> None:
    """Write one shard, whole or not at all.

    Args:
        path: replaced when the shard is complete.
        clients: pixels uint8 [n, 784] and labels [n] by the client's name.
        about: further members of the file, which say where the records come from.
    """
    sizes = [len(labels) for _, labels in clients.values()]
    head = {**about, "users": list(clients), "num_samples": sizes}
    with whole_file(path) as file:
        file.write(orjson.dumps(head)[:-1] + b',"user_data":')
        before = b"{"
        for name, (pixels, labels) in clients.items():
            data = {"x": pixels / 255, "y": labels}
            file.write(before + orjson.dumps(name) + b":")
            file.write(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY))
            before = b","
        file.write(b"}}")
