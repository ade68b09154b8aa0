"""The table of benchmarks.

To add one: a folder of this package, a line here, a parameters file. Pipelines,
catalog and core do not change.
"""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.femnist.benchmark import FEMNIST
from fedmeta.benchmarks.images.benchmark import IMAGES
from fedmeta.benchmarks.recommendation.benchmark import RECOMMENDATION
from fedmeta.benchmarks.sent140.benchmark import SENT140
from fedmeta.benchmarks.shakespeare.benchmark import SHAKESPEARE
from fedmeta.benchmarks.table.benchmark import TABLE

BENCHMARKS: dict[str, Benchmark] = {
    "femnist": FEMNIST,
    "shakespeare": SHAKESPEARE,
    "sent140": SENT140,
    "recommendation": RECOMMENDATION,
    "table": TABLE,
    "images": IMAGES,
}


def name_of(benchmark: Benchmark) -> str:
    """The name of a benchmark in the table."""
    return next(name for name, entry in BENCHMARKS.items() if entry is benchmark)
