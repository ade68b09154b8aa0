"""What a federation's server has last sent to a node, as a model that is served."""

from functools import partial
from pathlib import Path

from fedmeta.assembly import assemble
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed
from fedmeta.runtime.federation.kept import kept
from fedmeta.runtime.federation.tables import RECORDS
from fedmeta.runtime.on_worker import version
from fedmeta.serving.learned import Personaliser, form_of


def load_node(name: str, folder: str | Path) -> Personaliser:
    """The model of a training that a node takes part in, or has.

    Args:
        name: benchmark and algorithm, such as "femnist.maml".
        folder: of the node, as packed.

    Raises:
        DataError: where the node has not been sent its parameters, or those of another
            version of this package.
    """
    folder, (benchmark, _, algorithm) = Path(folder), name.partition(".")
    job, meta, codebook = kept(folder, benchmark, algorithm)
    if job.version != version():
        raise DataError(
            f"{folder}: the parameters of {name} are of a training by another version"
            " of this package or of torch; install that one, or train again"
        )
    entry = BENCHMARKS[benchmark]
    encoding = entry.encoding(codebook)
    factory = partial(entry.model, **encoding.sizes)
    model, built = assemble(factory, job.model, [algorithm], job.blocks, job.chunk)
    return Personaliser(
        form_of(benchmark),
        {**read_packed(folder / RECORDS).metadata, **job.vocabularies},
        codebook,
        encoding,
        model,
        built[algorithm],
        meta,
    )
