"""The table of benchmarks: what the pipelines need to know of each.

To add one: a folder of this package, a line here, a parameters file. Pipelines,
catalog and core do not change.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fedmeta.benchmarks.femnist import parse, pixels, profiles, synthetic
from fedmeta.core.model import Model
from fedmeta.data.encoding import Codebook, Encoding, Labels
from fedmeta.data.federated import ClientRecords
from fedmeta.data.statistics import Reference
from fedmeta.models.cnn import femnist_cnn


class Benchmark(NamedTuple):
    """A data set and the model that the paper puts on it.

    A function with ``...`` takes further arguments by name: the options of its block
    in the benchmark's parameters file.
    """

    label: str  # in tables and figures
    find_raw: Callable[[Path], list[Path]]  # folder -> its raw files
    # block raw.parse; raw files -> stream of clients, metadata
    parse: Callable[..., tuple[Iterator[ClientRecords], dict[str, str]]]
    # block raw.sample; folder -> generated raw files, for use offline
    write_sample: Callable[..., list[Path]]
    # block selection; records -> clients table
    select_clients: Callable[..., pd.DataFrame]
    labels: Labels
    # block encoding; records, training clients' rows of the clients table -> codebook
    codebook: Callable[..., Codebook]
    encoding: Callable[[Codebook], Encoding]
    model: Callable[..., Model]  # block model, and the encoding's sizes
    reach: int  # records of a client that are nearer than this share content
    table1: Mapping[str, Reference]  # the paper's statistics
    table2: Mapping[float, Mapping[str, float]]  # support fraction -> label -> %


BENCHMARKS: dict[str, Benchmark] = {
    "femnist": Benchmark(
        label="FEMNIST",
        find_raw=parse.femnist_shards,
        parse=parse.parse_femnist,
        write_sample=synthetic.write_sample,
        select_clients=profiles.select_clients,
        labels=pixels.labels,
        codebook=pixels.codebook,
        encoding=pixels.encoding,
        model=femnist_cnn,
        reach=0,
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
