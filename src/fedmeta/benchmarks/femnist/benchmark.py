"""FEMNIST as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.femnist import parse, pixels, profiles, rows, synthetic
from fedmeta.models.cnn import femnist_cnn

FEMNIST = Benchmark(
    label="FEMNIST",
    find_raw=parse.femnist_shards,
    parse=parse.parse_femnist,
    write_sample=synthetic.write_sample,
    select_clients=profiles.select_clients,
    labels=pixels.labels,
    codebook=pixels.codebook,
    encoding=pixels.encoding,
    model=femnist_cnn,
    window_overlap=0,
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
    table_form=rows.TABLE,
)
