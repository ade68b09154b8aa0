"""A table of one's own, as the pipelines see it."""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.table import features, parse, rows, synthetic
from fedmeta.models.mlp import mlp

TABLE = Benchmark(
    label="a table",
    find_raw=parse.find_raw,
    parse=parse.parse,
    write_sample=synthetic.write_sample,
    codebook=features.codebook,
    encoding=features.encoding,
    model=mlp,
    published=False,
    table_form=rows.FORM,
    summary=features.summary,
)
