"""From raw files to packed records."""

import hashlib
import json
import logging
from pathlib import Path

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.datasets import PackedSource
from fedmeta.pipelines.checks import check_raw, checked_by
from fedmeta.pipelines.options import RawOptions, build
from fedmeta.pipelines.progress import progress

log = logging.getLogger(__name__)


@checked_by(check_raw)
def find_raw(benchmark: Benchmark, raw: RawOptions) -> list[str]:
    """Paths of the raw files in a folder; where a sample is asked for, it is drawn."""
    folder = Path(raw.folder)
    if raw.sample is not None:
        log.warning(
            "Drawing a SYNTHETIC sample into %s: its results are not those of %s. For"
            " real data: kedro run --env paper.",
            folder,
            benchmark.label,
        )
        build(benchmark.write_sample, raw.sample, "raw.sample", folder)
    return [str(path) for path in benchmark.find_raw(folder)]


@checked_by(check_raw)
def pack(benchmark: Benchmark, raw: RawOptions, raw_files: list[str]) -> PackedSource:
    """Stream the raw files' clients, checked, on their way into one packed file."""
    shards = [Path(name) for name in raw_files]
    clients, metadata = build(benchmark.parse, raw.parse, "raw.parse", shards)
    stats = [(s.name, s.stat().st_size, s.stat().st_mtime_ns) for s in shards]
    listing = json.dumps([stats, raw.parse], sort_keys=True)
    digest = hashlib.sha256(listing.encode()).hexdigest()
    return PackedSource(
        progress(clients, "clients packed"), {**metadata, "source_files": digest}
    )
