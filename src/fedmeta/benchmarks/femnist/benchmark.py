"""FEMNIST as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark, Said, table2
from fedmeta.benchmarks.femnist import parse, pixels, profiles, rows, synthetic
from fedmeta.models.cnn import femnist_cnn

FEMNIST = Benchmark(
    label="FEMNIST",
    find_raw=parse.femnist_shards,
    parse=parse.parse_femnist,
    write_sample=synthetic.write_sample,
    select_clients=profiles.select_clients,
    codebook=pixels.codebook,
    encoding=pixels.encoding,
    model=femnist_cnn,
    table1=profiles.TABLE1,
    table2=table2(
        {
            0.2: (76.79, 83.58, 88.46, 89.26),
            0.5: (75.44, 87.84, 89.77, 90.28),
            0.9: (77.05, 88.76, 89.31, 89.31),
        }
    ),
    table_form=rows.TABLE,
    said=Said("fomaml", "more", "lower"),
)
