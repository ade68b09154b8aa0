"""From raw files to packed records."""

import hashlib
import logging
from pathlib import Path

from fedmeta.benchmarks.registry import Benchmark
from fedmeta.datasets import PackedSource
from fedmeta.pipelines.options import RawOptions
from fedmeta.pipelines.progress import progress

log = logging.getLogger(__name__)


def find_raw(benchmark: Benchmark, raw: RawOptions) -> list[str]:
    """Paths of the raw files in a folder; where a sample is asked for, it is drawn."""
    folder = Path(raw.folder)
    if raw.sample is not None:
        log.warning(
            "Drawing a SYNTHETIC sample of %d clients into %s: its results are not"
            " those of %s. For real data: kedro run --env paper.",
            raw.sample.writers,
            folder,
            benchmark.label,
        )
        benchmark.write_sample(folder, **raw.sample.model_dump())
    return [str(path) for path in benchmark.find_raw(folder)]


def pack(benchmark: Benchmark, raw_files: list[str]) -> PackedSource:
    """Stream the raw files' clients, checked, on their way into one packed file."""
    shards = [Path(name) for name in raw_files]
    clients, metadata = benchmark.parse(shards)
    listing = "\n".join(
        f"{s.name} {s.stat().st_size} {s.stat().st_mtime_ns}" for s in shards
    )
    digest = hashlib.sha256(listing.encode()).hexdigest()
    return PackedSource(
        progress(clients, "clients packed"), {**metadata, "source_files": digest}
    )
