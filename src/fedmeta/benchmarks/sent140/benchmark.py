"""Sent140 as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.sent140 import parse, rows, select, synthetic, vectors
from fedmeta.data.select import select_clients
from fedmeta.models.lstm import tweet_lstm

SENT140 = Benchmark(
    label="Sent140",
    find_raw=parse.find_raw,
    parse=parse.parse,
    write_sample=synthetic.write_sample,
    select_clients=select_clients,
    labels=vectors.labels,
    codebook=vectors.codebook,
    encoding=vectors.encoding,
    model=tweet_lstm,
    window_overlap=0,
    table1=select.TABLE1,
    table2={
        0.2: {
            "FedAvg": 71.53,
            "FedAvg(Meta)": 70.10,
            "FedMeta(MAML)": 76.37,
            "FedMeta(Meta-SGD)": 77.24,
        },
        0.5: {
            "FedAvg": 72.29,
            "FedAvg(Meta)": 73.88,
            "FedMeta(MAML)": 78.63,
            "FedMeta(Meta-SGD)": 79.38,
        },
        0.9: {
            "FedAvg": 73.38,
            "FedAvg(Meta)": 75.86,
            "FedMeta(MAML)": 79.53,
            "FedMeta(Meta-SGD)": 80.94,
        },
    },
    table_form=rows.TABLE,
)
