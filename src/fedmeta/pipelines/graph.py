"""The graphs of the stages: from raw files to the scores of test clients."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS, blocks_of
from fedmeta.pipelines.binding import bind, node
from fedmeta.pipelines.evaluation.nodes import evaluate
from fedmeta.pipelines.federation.nodes import ask, learn
from fedmeta.pipelines.ingestion.nodes import find_raw, pack
from fedmeta.pipelines.preparation.nodes import describe, divide, encode, select, split
from fedmeta.pipelines.training.nodes import train


def ingestion(benchmark: str) -> Pipeline:
    """Raw files -> packed records of all clients."""
    return Pipeline(
        [
            node(
                bind(function, benchmark=BENCHMARKS[benchmark]),
                f"{benchmark}.{made}",
                benchmark,
                "ingestion",
            )
            for function, made in ((find_raw, "raw_files"), (pack, "records"))
        ]
    )


def preparation(home: str, benchmark: Benchmark, records: str) -> Pipeline:
    """Packed records -> clients, their split, support and query sets, Table 1.

    Args:
        home: under which name datasets and parameters are.
        benchmark: what the clients are of.
        records: the dataset that they are from.
    """
    functions = {
        "clients": bind(select, benchmark=benchmark),
        "statistics": bind(describe, benchmark=benchmark),
        "client_split": split,
        "support_query": bind(divide, benchmark=benchmark),
        "codebook": bind(encode, benchmark=benchmark),
    }
    found = []
    for made, function in functions.items():
        read = {} if function is split else {"records": records}
        found.append(node(function, f"{home}.{made}", home, "preparation", read))
    return Pipeline(found)


def federation(benchmark: str) -> Pipeline:
    """What nodes hold -> clients, their split, support and query sets, Table 1."""
    entry, records = BENCHMARKS[benchmark], f"{benchmark}.records"
    asked = [_remote_records(benchmark), f"{benchmark}.clients"]
    learned = f"{benchmark}.codebook"
    own = [
        node(bind(ask, benchmark=entry), asked, benchmark, "federation"),
        node(bind(learn, benchmark=entry), learned, benchmark, "federation"),
    ]
    prepared = preparation(benchmark, entry, records).nodes
    others = [n for n in prepared if not {*asked, learned} & {*n.outputs}]
    return remote(benchmark, Pipeline([*own, *others]))


def remote(benchmark: str, graph: Pipeline) -> Pipeline:
    """The same graph, on records that are on nodes."""
    return Pipeline(graph, inputs={f"{benchmark}.records": _remote_records(benchmark)})


def _remote_records(benchmark: str) -> str:
    return f"{benchmark}.remote_records"


def training(benchmark: str, algorithm: str) -> Pipeline:
    """Tasks of the training clients -> checkpoint; what is seen of each algorithm.

    With the training that it starts from, if there is one.
    """
    names, before = trained_with(algorithm), ALGORITHMS[algorithm].after
    home = f"{benchmark}.{algorithm}"
    trained = node(
        bind(train, benchmark=BENCHMARKS[benchmark], names=names),
        training_outputs(home, *(f"{benchmark}.{name}" for name in names)),
        benchmark,
        algorithm,
        {
            **({"start": f"{benchmark}.{before}.checkpoint"} if before else {}),
            "earlier": f"{home}.earlier_checkpoints",
            **option_inputs(benchmark, names),
        },
    )
    earlier = training(benchmark, before) if before else Pipeline([])
    return earlier + Pipeline([trained])


def run(benchmark: str, algorithm: str) -> Pipeline:
    """Tasks of all clients -> the training that serves an algorithm, its scores."""
    trained = ALGORITHMS[algorithm].trained_as or algorithm
    names, entry = trained_with(trained), BENCHMARKS[benchmark]
    scored = node(
        bind(evaluate, benchmark=entry, names=names, name=algorithm),
        f"{benchmark}.{algorithm}.scores",
        benchmark,
        algorithm,
        {
            "checkpoint": f"{benchmark}.{trained}.checkpoint",
            **option_inputs(benchmark, names),
        },
    )
    return training(benchmark, trained) + Pipeline([scored])


def trained_with(algorithm: str) -> list[str]:
    """The algorithms that one training serves, the trained one first."""
    sharing = [n for n, entry in ALGORITHMS.items() if entry.trained_as == algorithm]
    return [algorithm, *sharing]


def option_inputs(benchmark: str, names: list[str]) -> dict[str, str]:
    """The blocks of parameters that the options of some algorithms are made from."""
    blocks = {block for name in names for block in blocks_of(name)}
    return {block: f"params:{benchmark}.{block}" for block in sorted(blocks)}


def training_outputs(home: str, *watched: str) -> list[str]:
    """The datasets that `train` writes.

    Args:
        home: under which name the checkpoint is.
        watched: under which names curves are, each of one algorithm.
    """
    kinds = ("history", "validation_scores")
    curves = [f"{name}.{kind}" for kind in kinds for name in watched]
    return [f"{home}.checkpoint", *curves]
