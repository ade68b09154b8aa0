"""A synthetic usage log: who used which service when, drawn from a seed.

A user has a few main services, used at length, and side services, looked at briefly. A
session is a round of side services, then stays at main ones. In all users alike, short
gaps repeat a service and longer ones change it; a pause in a stay leads to the next of
the main services; the part of the day says which is first; logs begin with a short
session of each; the category tells main from side. Which services these are, where a
round begins, goes on and ends, is each user's own: what comes next depends on the
service before and on whether the battery is low together, so that a linear model cannot
tell. Most side services are taken up after the log has begun, so that its first
records say little of them. Accuracies say nothing about the paper's private log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from annotated_types import Ge

from fedmeta.benchmarks.recommendation import usage_model
from fedmeta.benchmarks.recommendation.usage_model import (
    CATEGORIES,
    categories_of,
    draw_sessions,
    draw_users,
    records_of,
    sizes_of,
)
from fedmeta.core.bounds import Count, Seed
from fedmeta.data.errors import check_range
from fedmeta.data.files import whole_path

FILE = "usage_log.parquet"
CODE = (__file__, usage_model.__file__)
MARK, ARGUMENTS = b"fedmeta.synthetic", b"fedmeta.arguments"  # of the file's metadata
Several = Annotated[int, Ge(2)]
CHUNK = 512  # users drawn together: some 25 MB of temporaries


def write_sample(
    folder: Path,
    users: Count = 300,
    services: Annotated[int, Ge(64)] = 2400,
    records_per_user: tuple[Several, Several] = (100, 6000),
    seed: Seed = 0,
) -> list[Path]:
    """Write a Parquet usage log of synthetic users; same arguments, same records.

    Its columns are `user`, `time`, `service`, `battery` (percent, known before the
    service) and `category` (of the service). The schema's metadata say that it is
    synthetic. It is put in place only when it is complete, and a file that is there
    with the same arguments stays as it is: it need not be packed again. The paper's
    size is 9,369 users.

    Args:
        folder: made when missing.
        users: number of clients, "synthetic-00000" and so on, in random order of size.
        services: how many there are for all users.
        records_per_user: least and greatest number; most users are near the least.
        seed: of the whole population.

    Returns:
        The path of the file.

    Raises:
        DataError: for an empty range.
    """
    check_range("records_per_user", *records_per_user)
    arguments = {
        "users": users,
        "services": services,
        "seed": seed,
        "records_per_user": records_per_user,
        "code": crc32(b"".join(Path(file).read_bytes() for file in CODE)),
    }
    metadata = {MARK: b"true", ARGUMENTS: json.dumps(arguments).encode()}
    path = Path(folder) / FILE
    if not _is_there(path, metadata):
        schema = _schema(metadata)
        with whole_path(path) as partial, pq.ParquetWriter(partial, schema) as writer:
            for table in _tables(users, services, records_per_user, seed, schema):
                writer.write_table(table)
    return [path]


def _is_there(path: Path, metadata: dict[bytes, bytes]) -> bool:
    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return metadata.items() <= found.items()


def _schema(metadata: dict[bytes, bytes]) -> pa.Schema:
    names = pa.dictionary(pa.int32(), pa.string())
    fields = [("user", names), ("time", pa.timestamp("ms")), ("service", names)]
    fields += [("battery", pa.uint8()), ("category", names)]
    return pa.schema(fields, metadata)


def _tables(
    users: int, services: int, bounds: tuple[int, int], seed: int, schema: pa.Schema
) -> Iterator[pa.Table]:
    user_names = pa.array([f"synthetic-{user:05d}" for user in range(users)])
    service_names = pa.array([f"service-{rank:04d}" for rank in range(services)])
    categories = categories_of(services)
    sizes = np.random.default_rng(seed).permutation(sizes_of(users, *bounds))
    for first in range(0, users, CHUNK):
        rng = np.random.default_rng([seed, first])
        chunk = draw_users(sizes[first : first + CHUNK], categories, rng)
        user, time, service, battery = records_of(chunk, draw_sessions(chunk, rng), rng)
        columns = [
            _named(first + user, user_names),
            pa.array(1000 * time).cast(pa.timestamp("ms")),
            _named(service, service_names),
            pa.array(battery),
            _named(categories[service], pa.array(CATEGORIES)),
        ]
        yield pa.Table.from_arrays(columns, schema=schema)


def _named(codes: np.ndarray, names: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names)
