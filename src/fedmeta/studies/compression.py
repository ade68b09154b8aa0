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

    def judged(run: Results) -> m.Value:
        return m.accuracy(run, epochs=EPOCHS[run.value("algorithm")])

    def measured(run: Results) -> dict[str, m.Value]:
        sent = {name: m.at_end(run, name) for name in ("bytes_up", "bytes_down")}
        return {"accuracy": judged(run), **sent}

    def claim(label: str, one: Results, way: str, whole: Results) -> Claim:
        both = judged(one), judged(whole)
        said = f"{label} with {way} is within a point of what it is without"
        return Claim(said, f"{way} {both[0]}, without {both[1]}", close(*both, 1))

    table = m.tabulate(results, ["algorithm", "compression"], measured)
    table["algorithm"] = table["algorithm"].map(label_of)
    found = {label_of(name): run for name, run in results.by("algorithm").items()}
    ways = {label: run.by("compression") for label, run in found.items()}
    title = f"Validation accuracy after adaptation, by round · {results.source}"
    drawn = curves(by_round(ways, m.AFTER), title)
    return Report(
        "Compressed updates",
        "Trainings that differ in what clients send alone.",
        {"accuracy": table},
        [Section("What is lost?", READ, shown(table), {"accuracy": (drawn, "")})],
        [
            claim(label, run, way, runs[WHOLE])
            for label, runs in ways.items()
            for way, run in runs.items()
            if way != WHOLE
        ],
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
