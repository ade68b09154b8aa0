"""Shakespeare as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.shakespeare import parse, profiles, rows, synthetic, windows
from fedmeta.models.lstm import character_lstm

SHAKESPEARE = Benchmark(
    label="Shakespeare",
    find_raw=parse.shakespeare_files,
    parse=parse.parse_shakespeare,
    write_sample=synthetic.write_sample,
    select_clients=profiles.select_clients,
    labels=windows.window_labels,
    codebook=windows.character_codebook,
    encoding=windows.character_encoding,
    model=character_lstm,
    window_overlap=windows.WINDOW,
    table1=profiles.TABLE1,
    table2={
        0.2: {
            "FedAvg": 40.76,
            "FedAvg(Meta)": 38.71,
            "FedMeta(MAML)": 46.06,
            "FedMeta(Meta-SGD)": 44.72,
        },
        0.5: {
            "FedAvg": 42.01,
            "FedAvg(Meta)": 42.97,
            "FedMeta(MAML)": 46.29,
            "FedMeta(Meta-SGD)": 45.24,
        },
        0.9: {
            "FedAvg": 40.58,
            "FedAvg(Meta)": 43.48,
            "FedMeta(MAML)": 46.49,
            "FedMeta(Meta-SGD)": 46.25,
        },
    },
    table_form=rows.TABLE,
)
