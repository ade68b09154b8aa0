"""Images of one's own, as the pipelines see them."""

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.images import parse, pixels, rows, synthetic
from fedmeta.models.cnn import femnist_cnn

IMAGES = Benchmark(
    label="images",
    find_raw=parse.find_raw,
    parse=parse.parse,
    write_sample=synthetic.write_sample,
    codebook=pixels.codebook,
    encoding=pixels.encoding,
    model=femnist_cnn,
    published=False,
    table_form=rows.FORM,
    summary=pixels.summary,
)
