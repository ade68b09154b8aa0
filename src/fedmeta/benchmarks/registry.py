"""The table of benchmarks: what the pipelines need to know of each.

To add one: a folder of this package, a line here, a parameters file. Pipelines,
catalog and core do not change.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fedmeta.benchmarks.femnist import fetch, parse, profiles, synthetic
from fedmeta.benchmarks.femnist.examples import pixel_examples
from fedmeta.core.model import Model
from fedmeta.data.federated import ClientRecords
from fedmeta.data.statistics import Reference
from fedmeta.data.tasks import Examples
from fedmeta.models.cnn import femnist_cnn


class Benchmark(NamedTuple):
    """A data set and the model that the paper puts on it."""

    label: str  # in tables and figures
    find_raw: Callable[[Path], list[Path]]  # folder -> its raw files
    # raw files -> stream of clients, metadata
    parse: Callable[[Sequence[Path]], tuple[Iterator[ClientRecords], dict[str, str]]]
    write_sample: Callable[..., list[Path]]  # generated raw files, for use offline
    fetch: Callable[..., list[Path]]  # the real ones, for users with internet
    select_clients: Callable[..., pd.DataFrame]  # -> clients table
    examples: Examples
    model: Callable[..., Model]
    table1: Mapping[str, Reference]  # the paper's statistics
    table2: Mapping[float, Mapping[str, float]]  # support fraction -> label -> %


BENCHMARKS: dict[str, Benchmark] = {
    "femnist": Benchmark(
        label="FEMNIST",
        find_raw=parse.femnist_shards,
        parse=parse.parse_femnist,
        write_sample=synthetic.write_sample,
        fetch=fetch.fetch_femnist,
        select_clients=profiles.select_clients,
        examples=pixel_examples,
        model=femnist_cnn,
        table1=profiles.TABLE1,
        table2={
            0.2: {
                "FedAvg": 76.79,
                "FedAvg(Meta)": 83.58,
                "FedMeta(MAML)": 88.46,
                "FedMeta(Meta-SGD)": 89.26,
            },
            0.5: {
                "FedAvg": 75.44,
                "FedAvg(Meta)": 87.84,
                "FedMeta(MAML)": 89.77,
                "FedMeta(Meta-SGD)": 90.28,
            },
            0.9: {
                "FedAvg": 77.05,
                "FedAvg(Meta)": 88.76,
                "FedMeta(MAML)": 89.31,
                "FedMeta(Meta-SGD)": 89.31,
            },
        },
    ),
}
