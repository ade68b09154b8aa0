"""How fast raw files become a packed file, and in how much memory.

    python benchmarks/ingestion.py [FOLDER] [--writers N]
    python benchmarks/ingestion.py FOLDER --benchmark table --option client=user \
--option label=y

FOLDER holds raw files, else LEAF's FEMNIST shards; without it N synthetic writers are
made first. The speed is given by the core's own time too, which other work on the
machine does not change.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from fedmeta.benchmarks.femnist.synthetic import write_sample
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.federated import read_packed, write_packed


def measure(folder: Path, name: str, options: dict[str, str]) -> None:
    """Print size, speed and peak memory of packing a folder of raw files."""
    benchmark = BENCHMARKS[name]
    files = benchmark.find_raw(folder)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    before = _peak_megabytes()
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / "records.arrow"
        wall, core = time.perf_counter(), time.process_time()
        clients, metadata = benchmark.parse(files, **options)
        write_packed(packed, clients, metadata)
        wall, core = time.perf_counter() - wall, time.process_time() - core
        peak = _peak_megabytes()
        dataset = read_packed(packed)
        print(f"{'synthetic' if metadata['synthetic'] == 'true' else 'real'} {name}")
        print(f"clients      {len(dataset.client_ids):10,}")
        print(f"records      {dataset.num_examples.sum():10,}")
        print(f"raw          {megabytes:10,.0f} MB in {len(files)} files")
        print(f"packed       {packed.stat().st_size / 1e6:10,.0f} MB")
        print(f"speed        {megabytes / wall:10,.1f} MB of raw files a second")
        print(f"speed, core  {megabytes / core:10,.1f} MB of them a second of the core")
        print(f"peak memory  {peak:10,.0f} MB, of which {before:,.0f} before the start")


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kB on Linux


def main() -> None:
    """Measure a folder, or a synthetic one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--writers", type=int, default=300, help="synthetic ones")
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="femnist")
    parser.add_argument("--option", action="append", default=[], help="of its parser")
    arguments = parser.parse_args()
    if arguments.folder:
        options = dict(pair.split("=", 1) for pair in arguments.option)
        measure(arguments.folder, arguments.benchmark, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), arguments.writers)
        measure(Path(folder), "femnist", {})


if __name__ == "__main__":
    main()
