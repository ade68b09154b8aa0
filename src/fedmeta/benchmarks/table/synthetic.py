"""A generated table in two parts, for tests and CI: no results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from fedmeta.core.bounds import Count, Seed
from fedmeta.data.files import whole_path
from fedmeta.data.tables import SYNTHETIC_KEY


def write_sample(
    folder: Path,
    clients: Count = 20,
    records: Count = 20,
    seed: Seed = 0,
) -> list[Path]:
    """Write two Parquet files of `user`, `at`, `a`, `b`, `kind` and `y`.

    What `a` says of `y` is each user's own. A tenth of `b` and `kind` is missing.

    Args:
        folder: made when missing.
        clients: users, whose rows are scattered over both files.
        records: of a user.
        seed: of all values.

    Returns:
        The paths of the files.
    """
    rng = np.random.default_rng(seed)
    total = clients * records
    user = rng.permutation(np.repeat(np.arange(clients), records))
    a, b = rng.normal(size=(2, total))
    y = np.where(a * np.where(user % 2, 1, -1) + 0.3 * b > 0, "yes", "no")
    missing = rng.random((2, total)) < 0.1
    columns = {
        "user": pa.array([f"synthetic-{number:03d}" for number in user]),
        "at": pa.array(rng.permutation(total)).cast(pa.timestamp("s")),
        "a": pa.array(a),
        "b": pa.array(b, mask=missing[0]),
        "kind": pa.array(rng.choice(["x", "y", "z"], total), mask=missing[1]),
        "y": pa.array(y),
    }
    table = pa.table(columns).replace_schema_metadata({SYNTHETIC_KEY: b"true"})
    paths = []
    for part in range(2):
        paths.append(Path(folder) / f"part-{part}.parquet")
        with whole_path(paths[-1]) as partial:
            half = total // 2
            parquet.write_table(table.slice(part * half, half + part), partial)
    return paths
