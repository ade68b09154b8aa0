"""What is lost where clients send less: 8-bit updates, or their greatest entries.

Of FedAvg, whose updates are models, and FedMeta(MAML), whose are gradients, for Adam.
"""

from fedmeta.pipelines.studies.experiment import Experiment, Variant, clients_of
from fedmeta.reporting import measures as m
from fedmeta.reporting.curves import by_round, curves
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import shown
from fedmeta.reporting.verdicts import Claim, close
from fedmeta.reporting.wording import label_of
from fedmeta.studies.study import Study

HOME, WHOLE = "femnist_compression_study", "none"
FEMNIST = clients_of("femnist")
WAYS = {WHOLE: "", "int8": "_int8", "top 10 %": "_top10", "top 1 %": "_top1"}
EPOCHS = {"fedavg": 0, "maml": 1}  # of adaptation before it is judged
VARIANTS = {
    f"{algorithm}{suffix}": Variant(
        algorithm, training=f"training{suffix}", factors={"compression": way}
    )
    for algorithm in EPOCHS
    for way, suffix in WAYS.items()
}


def report(results: Results) -> Report:
    """Accuracy beside bytes, by algorithm and compression."""

    def measured(run: Results) -> dict[str, m.Value]:
        sent = {name: m.at_end(run, name) for name in ("bytes_up", "bytes_down")}
        epochs = EPOCHS[run.value("algorithm")]
        return {"accuracy": m.accuracy(run, epochs=epochs), **sent}

    table = m.tabulate(results, ["algorithm", "compression"], measured)
    table["algorithm"] = table["algorithm"].map(label_of)
    groups, claims = {}, []
    for algorithm, epochs in EPOCHS.items():
        label, own = label_of(algorithm), results.where(algorithm=algorithm)
        groups[label] = {way: own.where(compression=way) for way in WAYS}
        right = {w: m.accuracy(r, epochs=epochs) for w, r in groups[label].items()}
        whole = right.pop(WHOLE)
        claims += [
            Claim(
                f"{label} with {way} is within a point of what it is without",
                f"{way} {accuracy}, without {whole}",
                close(accuracy, whole, 1),
            )
            for way, accuracy in right.items()
        ]
    title = f"Validation accuracy after adaptation, by round · {results.source}"
    drawn = curves(by_round(groups, m.AFTER), title)
    return Report(
        "Compressed updates",
        "Trainings that differ in what clients send alone.",
        {"accuracy": table},
        [Section("What is lost?", READ, shown(table), {"accuracy": (drawn, "")})],
        claims,
    )


READ = """
Percent of all test clients' query records classified correctly, by FedAvg's model as it
is and by MAML's after its step. Bytes are those of all clients and rounds."""
STUDY = Study(
    HOME,
    FEMNIST.benchmark,
    [Experiment(HOME, FEMNIST, VARIANTS)],
    report=report,
    tables=["accuracy"],
    figures=["accuracy"],
    notes=["Bytes are counted uncompressed downwards: clients alone compress."],
)
