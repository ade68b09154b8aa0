"""Sent140 as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark, Said, table2
from fedmeta.benchmarks.sent140 import parse, rows, synthetic, vectors
from fedmeta.data.statistics import Reference
from fedmeta.models.lstm import tweet_lstm

# Table 1 of Chen et al. 2018: value and accepted relative deviation. Whether LEAF's
# sampling came before is not known, so counts are held to a few per cent.
TABLE1 = {
    "clients": Reference(3790, 0.03),
    "samples": Reference(171_809, 0.03),
    "classes": Reference(2),
    "samples_mean": Reference(45, 0.03),
    "samples_sd": Reference(28, 0.03),
    "classes_min": Reference(1),
    "classes_max": Reference(2),
}

SENT140 = Benchmark(
    label="Sent140",
    find_raw=parse.find_raw,
    parse=parse.parse,
    write_sample=synthetic.write_sample,
    codebook=vectors.codebook,
    summary=vectors.summary,
    encoding=vectors.encoding,
    model=tweet_lstm,
    table1=TABLE1,
    table2=table2(
        {
            0.2: (71.53, 70.10, 76.37, 77.24),
            0.5: (72.29, 73.88, 78.63, 79.38),
            0.9: (73.38, 75.86, 79.53, 80.94),
        }
    ),
    table_form=rows.TABLE,
    said=Said("fomaml", "less"),
)
