"""Pack a node's raw data, by the project's own ingestion, before the node starts.

`python -m fedmeta.runtime.federation.pack BENCHMARK RAW FOLDER` reads the raw files in
one folder and writes the records of the node in another.
"""

import argparse
import json
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, write_packed
from fedmeta.data.files import whole_path
from fedmeta.options import build
from fedmeta.runtime.federation.tables import RECORDS

log = logging.getLogger(__name__)

NAMES = "names.json"  # in a node's folder: the number of each client; stays there


def pack(
    benchmark: str,
    raw: Path,
    folder: Path,
    options: dict[str, Any] | None = None,
    numbers: bool = False,
) -> None:
    """Write the packed records of a node.

    Args:
        benchmark: in the table of benchmarks.
        raw: with the node's raw files.
        folder: of the node; it is made.
        options: the block ``raw`` of the benchmark's parameters, without where raw
            files are.
        numbers: clients are called by numbers, and their names stay in the folder.

    Raises:
        DataError: for raw files that cannot be read.
    """
    entry = BENCHMARKS[benchmark]
    folder.mkdir(parents=True, exist_ok=True)
    clients, metadata = build(entry.parse, options or {}, "raw", entry.find_raw(raw))
    if numbers:
        clients = _numbered(clients, folder)
    write_packed(folder / RECORDS, clients, metadata)


def _numbered(
    clients: Iterator[ClientRecords], folder: Path
) -> Iterator[ClientRecords]:
    """The same clients under numbers, that no other node has."""
    node, names = secrets.token_hex(4), {}
    for number, client in enumerate(clients):
        names[f"{node}-{number}"] = client.client_id
        yield client._replace(client_id=f"{node}-{number}")
    with whole_path(folder / NAMES) as temporary:
        temporary.write_text(json.dumps(names, indent=1))


def main() -> None:
    """Pack the raw files of one node."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("benchmark", choices=list(BENCHMARKS))
    parser.add_argument("raw", type=Path, help="folder of raw files")
    parser.add_argument("folder", type=Path, help="of the node")
    parser.add_argument("--options", type=json.loads, help="of the parser, as JSON")
    parser.add_argument(
        "--numbers",
        action="store_true",
        help="call clients by numbers; their names stay in the node's folder",
    )
    arguments = parser.parse_args()
    try:
        pack(**vars(arguments))
    except DataError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
