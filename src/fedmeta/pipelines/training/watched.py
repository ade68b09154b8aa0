"""Which validation clients are watched, under which support fractions."""

from collections.abc import Iterator

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.data.errors import DataError
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.preparation.nodes import divide
from fedmeta.pipelines.training.curves import Curves
from fedmeta.pipelines.training.resuming import under
from fedmeta.pipelines.training.setup import Data, Setup, prepare


def curves_of(
    benchmark: Benchmark,
    names: list[str],
    data: Data,
    setup: Setup,
    partition: PartitionOptions,
    training: TrainingOptions,
    model: dict,
    algorithms: dict[str, dict],
) -> Curves:
    """Curves of the validation clients, under every support fraction asked for."""
    first = slice(training.evaluation_clients)
    setups, watched = {"": setup}, {"": data.part("validation")[first]}
    if setup.algorithms[names[0]].split_invariant:
        for suffix, divided in _divisions(benchmark, data, partition, training):
            watched[suffix] = divided.part("validation")[first]
            setups[suffix] = prepare(
                benchmark, divided, training, model, names, algorithms
            )
    return Curves(setups, names, watched, data.part("train"), training.probe)


def _divisions(
    benchmark: Benchmark,
    data: Data,
    partition: PartitionOptions,
    training: TrainingOptions,
) -> Iterator[tuple[str, Data]]:
    """The validation clients' data under other support fractions."""
    validation = data.client_split["validation"]
    clients = data.clients[data.clients["client_id"].isin(validation)]
    for fraction in sorted(
        {*training.support_fractions} - {partition.support_fraction}
    ):
        other = partition.model_copy(update={"support_fraction": fraction})
        try:
            divided = divide(benchmark, data.records, clients, other)
        except DataError:  # a gap that leaves nobody: its own run says so
            continue
        yield under(fraction), data._replace(support_query=divided)
