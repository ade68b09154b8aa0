"""The usage log of mobile services, as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.recommendation import features, parse, synthetic, upcoming
from fedmeta.data.statistics import Reference
from fedmeta.models.tabular import tabular

RECOMMENDATION = Benchmark(
    label="the paper's usage log",
    find_raw=parse.find_raw,
    parse=parse.parse,
    write_sample=synthetic.write_sample,
    labels=features.labels,
    codebook=features.codebook,
    encoding=features.encoding,
    model=tabular,
    table1={
        "clients": Reference(9369),
        "samples": Reference(6_430_120),
        "classes": Reference(2400),
        "samples_mean": Reference(686.3, 0.001),
        "classes_min": Reference(2),
        "classes_max": Reference(36),
    },
    table2={},  # the paper's results are in its Table 3: fedmeta.reporting
    table_form=upcoming.TABLE,
)
