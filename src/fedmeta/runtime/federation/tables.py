"""The tables of a node: which of its clients take part, and with which records.

Made by a process of its own, since that takes pandas:
`python -m fedmeta.runtime.federation.tables FOLDER`, with a job as JSON on standard
input.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import feather

from fedmeta import identity
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed
from fedmeta.data.partition import partition_examples
from fedmeta.options import build
from fedmeta.runtime.federation.job import Job

RECORDS = "records.arrow"  # in a node's folder: its packed records
CLIENTS, SUPPORT_QUERY = "clients.arrow", "support_query.arrow"


class Tables(NamedTuple):
    """Tables of a node, as the pipelines have them, by columns."""

    clients: pa.Table  # client_id, start, stop
    support_query: pa.Table | None  # None: the job does not say how to divide


def tables_of(folder: Path, job: Job) -> Tables:
    """The tables of a job, made where they are not there yet.

    Raises:
        DataError: for options that these records do not allow.
    """
    place = _place(folder, job)
    if not place.is_dir():
        done = subprocess.run(
            [sys.executable, "-m", "fedmeta.runtime.federation.tables", str(folder)],
            input=json.dumps(job._asdict()),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DataError(done.stderr.strip().rpartition("\n")[2])
    divided = place / SUPPORT_QUERY
    return Tables(
        feather.read_table(place / CLIENTS),
        feather.read_table(divided) if divided.is_file() else None,
    )


def make(folder: Path, job: Job) -> None:
    """Write the tables of a job into a node's folder, whole or not at all."""
    records, benchmark = read_packed(folder / RECORDS), BENCHMARKS[job.benchmark]
    clients = build(benchmark.select_clients, dict(job.selection), "selection", records)
    made: dict[str, Any] = {CLIENTS: clients}
    if job.partition:
        made[SUPPORT_QUERY] = partition_examples(
            clients, **job.partition, dataset=records, labels=benchmark.labels
        )
    place = _place(folder, job)
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, table in made.items():
        feather.write_feather(pa.Table.from_pandas(table), str(partial / name))
    partial.replace(place)


def _place(folder: Path, job: Job) -> Path:
    made_from = {
        "records": read_packed(folder / RECORDS).checksum,
        "job": [job.version, job.benchmark, job.selection, job.partition],
    }
    return folder / "tables" / identity.fingerprint(made_from)[:16]


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]), Job(**json.load(sys.stdin)))
    except DataError as error:
        sys.exit(str(error))
