"""How fast a usage log becomes features, and in how much memory.

    python benchmarks/usage_log.py [--users 9369]

A generated log of so many users is written first, which is not measured. Then: file,
packed records, and the features of all records, a user at a time.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from fedmeta.benchmarks.recommendation.features import codebook, encoding
from fedmeta.benchmarks.recommendation.parse import find_raw, parse
from fedmeta.benchmarks.recommendation.synthetic import write_sample
from fedmeta.data.federated import read_packed, write_packed

COLUMNS = {"user": "user", "time": "time", "service": "service"}
CONTEXT = {"context": ["battery"], "event": ["category"]}


def measure(folder: Path) -> None:
    """Print size, speed and peak memory for the log in a folder."""
    packed = folder / "records.arrow"
    before = _peak_megabytes()
    start = time.perf_counter()
    clients, metadata = parse(find_raw(folder), **COLUMNS, **CONTEXT)
    write_packed(packed, clients, metadata)
    records = read_packed(packed)
    middle = time.perf_counter()
    used = pd.DataFrame(
        {"client_id": records.client_ids, "start": 0, "stop": records.num_examples}
    )
    encoded = encoding(codebook(records, used, recency=False))
    total = 0.0
    for user in used.itertuples():
        rows = np.arange(user.stop)
        columns = encoded.personal(records.columns(user.client_id), rows)
        total += float(encoded.examples(columns, rows)[0].sum())
    end = time.perf_counter()
    count = records.num_examples.sum()
    print(f"users          {len(records.client_ids):12,}")
    print(f"records        {count:12,}")
    print(f"features       {encoded.sizes['features']:12,}")
    print(f"of a record, 1 {total / count:12.1f}")
    print(f"file to packed {middle - start:12.1f} s")
    print(f"to features    {end - middle:12.1f} s")
    print(
        f"peak memory    {_peak_megabytes():12,.0f} MB, {before:,.0f} before the start"
    )


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kB on Linux


def main() -> None:
    """Measure a generated log."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--users", type=int, default=9369, help="9369 as in the paper")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), users=arguments.users)
        measure(Path(folder))


if __name__ == "__main__":
    main()
