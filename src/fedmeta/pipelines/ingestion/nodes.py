"""From raw files to packed records."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import file_sha256, whole_file
from fedmeta.datasets import PackedSource
from fedmeta.options import build
from fedmeta.pipelines.options import RawOptions
from fedmeta.pipelines.progress import progress

log = logging.getLogger(__name__)

DRAWN = ".drawn.json"  # in a folder: file of a sample -> digest


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
        _draw(benchmark, raw, folder)
    return [str(path) for path in benchmark.find_raw(folder)]


def _draw(benchmark: Benchmark, raw: RawOptions, folder: Path) -> None:
    """Put a sample in place of an earlier one; nothing else is ever replaced."""
    drawn, there = folder / DRAWN, _names(folder)
    known = json.loads(drawn.read_text()) if drawn.is_file() else {}
    # What cannot be an earlier sample's is not read.
    before = {name: file_sha256(folder / name) for name in there if name in known}
    strange = [n for n in there if n not in known or known[n] != before[n]]
    if folder.is_file() or (strange and not _is_generated(benchmark, raw, folder)):
        raise DataError(
            f"{folder / strange[0]}: is not, or no more, a generated sample, and"
            " raw.sample asks for one to be written there; set raw.sample to null to"
            " read what is there, or name another raw.folder"
        )
    before |= {name: file_sha256(folder / name) for name in strange}
    times = {name: (folder / name).stat().st_mtime_ns for name in before}
    made = build(benchmark.write_sample, raw.sample, "raw.sample", folder)
    names = {path.relative_to(folder).as_posix() for path in made}
    for name in known.keys() & before.keys() - names - {*strange}:
        (folder / name).unlink()
    after = {name: file_sha256(folder / name) for name in names}
    for name, digest in after.items():
        if before.get(name) == digest:  # it stays as old
            os.utime(folder / name, ns=(times[name],) * 2)
    with whole_file(drawn) as file:
        file.write(json.dumps(after, sort_keys=True).encode())


def _names(folder: Path) -> list[str]:
    """The files in a folder, or "." for one."""
    below = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    found = [p for p in below if p.is_file() and not p.name.startswith(".")]
    return [path.relative_to(folder).as_posix() for path in found]


def _is_generated(benchmark: Benchmark, raw: RawOptions, folder: Path) -> bool:
    try:
        files = benchmark.find_raw(folder)
        clients, metadata = build(benchmark.parse, raw.parse, "raw", files)
        if metadata["synthetic"] != "true":
            return False
        for _ in clients:  # a name may say it of a file that nobody could read
            pass
    except DataError:
        return False
    return True


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
