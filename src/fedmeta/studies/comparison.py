"""Comparisons of algorithms on one benchmark: `<benchmark>_fedmeta`, `_rivals`.

A study whose factor is the algorithm (Chen et al. 2018, arXiv 1802.07876). What several
seeds and support fractions of it say is `fedmeta.reproduction.table2`.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
from kedro.pipeline import Pipeline

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.pipelines.options import PartitionOptions, ReportOptions
from fedmeta.pipelines.reporting import partition_notes
from fedmeta.pipelines.studies.experiment import Clients, Experiment, Variant
from fedmeta.reporting import figures, tables
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import Shown, show, shown, sideways
from fedmeta.reporting.wording import (
    headline_columns,
    label_of,
    with_intervals,
)
from fedmeta.studies.study import Study

# The rows of Chen et al.'s tables. Other algorithms are run one at a time.
COMPARED = ("fedavg", "fedavg_meta", "maml", "fomaml", "meta_sgd")
# Those that a study of personalisation is asked to compare with.
RIVALS = ("local", "fedbabu", "knn_per", "ditto", "fedper", "fedrep", "scaffold")
TABLES = ("accuracy", "fairness", "overhead", "targets")
FIGURES = ("accuracy", "loss", "density", "adaptation", "overhead", "targets")
VALIDATION = "_validation_scores"
PAPER = ("paper", "difference", "tolerance", "verdict")  # columns on what is published
LOWEST_TARGET = 0.5  # accuracy that costs are shown from
# What the terminal shows: a table of it fits 80 characters.
PRINTED = ["algorithm", "micro_before", "micro_after", "micro_after_interval", "paper"]
PRINTED += ["rounds", "bytes_total", "flops"]
SHORT = {"micro_before": "before", "micro_after": "after"}
SHORT["micro_after_interval"] = "interval"


def comparison(
    results: Results,
    validation: Mapping[str, pd.DataFrame],
    target: float,
    paper: Mapping[str, float] | None = None,
) -> Report:
    """What one run of each algorithm gave: accuracy, fairness, cost.

    Args:
        results: a cell an algorithm.
        validation: by algorithm, a row a validation client and evaluation.
        target: validation accuracy that costs are counted to, a fraction.
        paper: published accuracies by label, in percent.
    """
    accuracy = tables.accuracy_table(results, paper)
    overhead = tables.overhead_table(results, target)
    fairness = tables.fairness_table(results)
    lowest = min(LOWEST_TARGET, target)
    targets = tables.targets_table(results, validation, lowest)
    told = _compared(with_intervals(accuracy))
    source = results.source
    return Report(
        "Federated meta-learning, compared with FedAvg",
        summary(accuracy),
        dict(zip(TABLES, (accuracy, fairness, overhead, targets), strict=True)),
        [
            Section(
                "Which algorithm is most accurate?",
                ACCURACY,
                shown(told[headline_columns(told)]),
                note=HEADLINE,
                warning=_apart(results),
            ),
            Section(
                "How fast does each algorithm learn?",
                figures={
                    "accuracy": (figures.accuracy_curves(results, target), CURVES),
                    "loss": (figures.loss_curves(results), LOSSES),
                },
            ),
            Section(
                "Is it fair to every client?",
                figures={
                    "density": (figures.client_density(results), DENSITY),
                    "adaptation": (figures.adaptation_effect(results), ADAPTATION),
                },
            ),
            Section(
                "Fairness in numbers",
                "All measures are of the test clients' accuracies after adaptation, "
                "every client counting the same.",
                sideways(fairness, "algorithm"),
                level=3,
            ),
            Section(
                "What does it cost to become accurate?",
                table=sideways(overhead, "algorithm"),
                figures={
                    "overhead": (figures.overhead_bars(overhead, source), OVERHEAD),
                    "targets": (figures.cost_curves(targets, source), TARGETS),
                },
            ),
            Section("All accuracies and costs", table=sideways(told, "algorithm")),
        ],
    )


def _apart(results: Results) -> tuple[str, str] | None:
    """The warning that algorithms were judged on different clients, if they were."""
    on = {k: tables.judged_on(r) for k, r in tables.by_label(results).items()}
    judged = {label: clients for label, clients in on.items() if clients}
    if len({*judged.values()}) < 2:
        return None
    counts = ", ".join(f"{label} on {len(who)}" for label, who in judged.items())
    return (
        "Not the same test clients",
        f"Nodes of the federation did not answer each time: {counts}. Accuracies of"
        " different clients are not compared; the same command, once all nodes are"
        " there, judges again.",
    )


def summary(accuracy: pd.DataFrame) -> str:
    """The outcome in one or two sentences."""
    baseline = label_of(tables.BASELINE)
    measured = accuracy.dropna(subset=["micro_after"])
    if measured.empty:
        return "No test client has been evaluated."
    best = measured.loc[measured["micro_after"].idxmax()]
    text = (
        f"After adapting to each test client, {best['algorithm']} classifies "
        f"{best['micro_after']:.1f} % of the query records correctly"
    )
    if best["algorithm"] == baseline or pd.isna(best["gain"]):
        return f"{text}."
    return (
        f"{text}, {best['gain']:.1f} points more than {baseline}, "
        "whose model all clients share as it is."
    )


def printed(accuracy: pd.DataFrame) -> Shown:
    """The few numbers of ``accuracy_table`` that a terminal has room for."""
    traffic = accuracy["bytes_down"] + accuracy["bytes_up"]
    words = accuracy.get("training", pd.Series(index=accuracy.index, dtype=str))
    named = accuracy["algorithm"] + ("\n" + words).fillna("")
    table = with_intervals(accuracy.assign(bytes_total=traffic, algorithm=named))
    names = headline_columns(table, PRINTED)
    return shown(table[names], SHORT, best=["micro_after"])


def report(
    benchmark: Benchmark,
    results: Results,
    records: FederatedDataset,
    options: dict[str, float],
    partition: PartitionOptions,
    clients: pd.DataFrame,
    support_query: pd.DataFrame,
    codebook: Codebook,
    statistics: pd.DataFrame,
    **validation: pd.DataFrame,
) -> Report:
    """The report of a run; the headline table is printed too."""
    published = benchmark.table2.get(partition.support_fraction)
    found = comparison(
        results,
        {name.removesuffix(VALIDATION): table for name, table in validation.items()},
        options["target_accuracy"],
        None if records.stands_in else published,
    )
    title = f"Test accuracy before and after adaptation · {results.source}"
    show(printed(found.tables["accuracy"]), title)
    parted = partition_notes(benchmark, partition, clients, support_query)
    return found._replace(
        notes=[codebook.note, *parted],
        statistics=shown(_compared(statistics), plain=True),
    )


def _compared(table: pd.DataFrame) -> pd.DataFrame:
    """The table, without the columns on a paper where there is nothing of one."""
    there = [name for name in PAPER if name in table]
    empty = [n for n in there if (table[n].isna() | (table[n] == "")).all()]
    return table.drop(columns=empty)


def study(
    home: str,
    benchmark: str,
    algorithms: Sequence[str],
    data: Pipeline,
    runs: Mapping[str, Pipeline],
) -> Study:
    """The comparison of some algorithms on a benchmark.

    Args:
        home: under which name the report is.
        benchmark: a name in `BENCHMARKS`.
        algorithms: names in `ALGORITHMS`.
        data: the graph that prepares the benchmark's clients.
        runs: the graph of each training, with its scores.
    """
    entry, records = BENCHMARKS[benchmark], f"{benchmark}.records"
    clients = Clients(benchmark, entry, records, lambda: data)
    trained = sum((runs[name] for name in algorithms), Pipeline([]))
    variants = {
        name: Variant(name, factors={"label": label_of(name)}) for name in algorithms
    }
    inputs = ("clients", "support_query", "codebook", "statistics")
    return Study(
        home,
        entry,
        [Experiment(benchmark, clients, variants, graph=lambda _: trained)],
        report=partial(report, entry),
        tables=TABLES,
        figures=FIGURES,
        notes=(),
        further={
            "records": records,
            "options": f"params:{benchmark}.report",
            "partition": f"params:{benchmark}.partition",
            **{name: f"{benchmark}.{name}" for name in inputs},
            **{
                f"{name}{VALIDATION}": f"{benchmark}.{name}.validation_scores"
                for name in algorithms
            },
        },
        options={"options": ReportOptions},
        claims=False,
    )


ACCURACY = """
All algorithms train one shared model on the same clients. A test client has taken no
part in that. It has a few labelled support records, which the shared model may adapt
to, and query records, on which it is judged. Before is the shared model as it is; after
is once it has adapted. FedAvg never adapts, so that its two numbers are the same;
FedAvg(Meta) is the same shared model, fine-tuned on the support records. The FedMeta
algorithms train the model for being adapted, and before that it can be poor."""
HEADLINE = """
Accuracy is the share of all test clients' query records that are classified correctly.
Traffic and compute are those of training, summed over all clients. The 95 % interval
says how far the accuracy would vary had other test clients been drawn (bootstrap); it
knows nothing of other seeds."""
CURVES = """
A curve that rises earlier needs fewer rounds of communication; one that ends higher is
more accurate. The gap between an algorithm's solid and dashed line is what adapting to
a client is worth. The numbers are those measured, not smoothed."""
LOSSES = """
Lower is better. A validation loss that turns up again while the training loss falls is
overfitting. Training losses are each algorithm's own: FedAvg's is on all records,
FedMeta's on query records after adaptation, so compare their shapes, not their
heights."""
DENSITY = """
Each hump is the spread of the test clients' accuracies. Further right is better, and
narrower is fairer: few clients are left behind; triangles mark means. A hump's tail can
pass 100 % and is cut there, since the curve is a smoothed histogram."""
ADAPTATION = """
A dot is a client. Above the diagonal, adapting helped; in the shaded half it did harm.
FedAvg, which does not adapt, is left out."""
TARGETS = """
The same for every target: a lower line is cheaper, and a line that ends earlier never
gets further. Bands are 95 % intervals over validation clients (bootstrap); one that
goes up to the top is open: some draws of clients never get there. Where more than half
do not, nothing is drawn."""
OVERHEAD = """
Shorter is cheaper: all that was spent until the validation accuracy after adaptation
first reached the target. An algorithm that converges in fewer rounds can still cost
more if each round is dearer. Compute is a formula's; beside it, by how much a counter
of the operations really run differs (at most 2 % is required)."""
