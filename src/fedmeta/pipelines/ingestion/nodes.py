"""From raw files to packed records."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import file_sha256
from fedmeta.datasets import PackedSource
from fedmeta.options import build
from fedmeta.pipelines.checks import check_raw, checked_by
from fedmeta.pipelines.options import RawOptions
from fedmeta.pipelines.progress import progress

log = logging.getLogger(__name__)


@checked_by(check_raw)
def find_raw(benchmark: Benchmark, raw: RawOptions) -> list[str]:
    """Paths of the raw files in a folder; where a sample is asked for, it is drawn."""
    folder = Path(raw.folder or "")  # given: `check_raw`
    if raw.sample is not None:
        log.warning(
            "Drawing a SYNTHETIC sample into %s: its results are not those of %s. For"
            " real data: docs/how-to/real-data.md.",
            folder,
            benchmark.label,
        )
        with _times_kept(folder):
            build(benchmark.write_sample, raw.sample, "raw.sample", folder)
    return [str(path) for path in benchmark.find_raw(folder)]


@checked_by(check_raw)
def pack(benchmark: Benchmark, raw: RawOptions, raw_files: list[str]) -> PackedSource:
    """Stream the raw files' clients, checked, on their way into one packed file."""
    shards = [Path(name) for name in raw_files]

    def parsed() -> tuple[Iterator[ClientRecords], dict[str, str]]:
        clients, metadata = build(benchmark.parse, raw.parse, "raw", shards)
        return progress(clients, "clients packed"), metadata

    stats = [
        (_place(s, raw.folder), s.stat().st_size, s.stat().st_mtime_ns) for s in shards
    ]
    settings = {
        "data.raw_files": hashlib.sha256(json.dumps(stats).encode()).hexdigest(),
        **identity.settings(
            raw={"parse": {**identity.named(benchmark.parse), **raw.parse}}
        ),
        **identity.code(benchmark.parse),
    }
    return PackedSource(parsed, settings)


def _place(path: Path, folder: str | None) -> str:
    """A file's name below the folder: the folders between may say what it is."""
    if folder is not None and path != Path(folder) and path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return path.name


@contextmanager
def _times_kept(folder: Path) -> Iterator[None]:
    """Files of a folder that are written again with the same bytes stay as old."""

    def content() -> dict[Path, tuple[str, int]]:
        # None where there is no folder yet, or a killed run has left an empty one.
        found = [path for path in folder.rglob("*") if path.is_file()]
        return {path: (file_sha256(path), path.stat().st_mtime_ns) for path in found}

    before = content()
    yield
    for path, (digest, _) in content().items():
        if path in before and before[path][0] == digest:
            os.utime(path, ns=(before[path][1],) * 2)
