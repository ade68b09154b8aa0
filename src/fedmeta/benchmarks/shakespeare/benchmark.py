"""Shakespeare as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark, Said, table2
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
    table2=table2(
        {
            0.2: (40.76, 38.71, 46.06, 44.72),
            0.5: (42.01, 42.97, 46.29, 45.24),
            0.9: (40.58, 43.48, 46.49, 46.25),
        }
    ),
    table_form=rows.TABLE,
    said=Said("fedavg", "less", "higher"),
)
