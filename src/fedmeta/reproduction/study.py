"""What one experiment's runs give: tables, figures, claims, and what is missing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.figures import overhead_bars
from fedmeta.reporting.measures import Value
from fedmeta.reporting.recommendation_claims import orderings
from fedmeta.reporting.recommendation_figures import episode_curves, step_curves
from fedmeta.reporting.recommendation_page import grouped
from fedmeta.reporting.recommendation_tables import Method, table3
from fedmeta.reporting.report import Section
from fedmeta.reporting.shown import Shown
from fedmeta.reporting.tables import first_reaching, overhead_table
from fedmeta.reporting.verdicts import Claim
from fedmeta.reproduction.claims import claims
from fedmeta.reproduction.commands import (
    Command,
    command_line,
    commands,
    given_parameters,
    missing_cells,
    seed_words,
    wanted_seeds,
)
from fedmeta.reproduction.figures import (
    BySeed,
    accuracy_bands,
    client_density,
    loss_bands,
)
from fedmeta.reproduction.settings import CELL, OWN, Chosen
from fedmeta.reproduction.tables import (
    Accuracies,
    accuracies,
    accuracy_cells,
    gains,
    gains_table,
    in_order,
    label_of,
    mean_history,
    percent,
    table2,
    together,
)
from fedmeta.reproduction.wording import (
    accuracy_words,
    before_words,
    counted,
    gain_words,
    other_words,
    overhead_words,
)

Frames = Mapping[str, pd.DataFrame]  # run id -> its history or scores


class Study(NamedTuple):
    """An experiment's results.

    Attributes:
        name: The experiment's name in MLflow.
        benchmark: The data set that they are of, or stand in for.
        source: What the data are.
        synthetic: Whether they were generated.
        stands_in: Whether they are not the benchmark's own.
        tables: To be saved, by name.
        shown: The same for people, where there is such a form.
        figures: By name.
        parts: In the order of the page.
        claims: The paper's, checked.
        gains: FedMeta's over FedAvg, in points.
        missing: What to type.
        written: Parameters that what is missing needs in conf/local.
        notes: Which runs these are.
        parameters: The settings, for the page.
    """

    name: str
    benchmark: str
    source: str
    synthetic: bool
    stands_in: bool
    tables: dict[str, pd.DataFrame]
    shown: dict[str, Shown]
    figures: dict[str, Figure]
    parts: list[Section]
    claims: list[Claim]
    gains: list[Value]
    missing: list[Command]
    written: dict[str, str]
    notes: list[str]
    parameters: dict[str, str]


def table2_study(
    name: str,
    chosen: Chosen,
    histories: Frames,
    scores: Frames,
    configured: Mapping[str, Any],
) -> Study:
    """Table 2 and Figures 2 to 5 of one experiment.

    Args:
        name: The experiment's.
        chosen: Its runs; at least one.
        histories: By run id; may lack some.
        scores: By run id; may lack some.
        configured: The benchmark's parameters as the files have them; may be empty.
    """
    runs = chosen.runs
    benchmark, source = _benchmark(runs), source_of(runs, _benchmark(runs))
    paper = None if stands_in(runs) else benchmark.table2
    expected = [a for a, e in ALGORITHMS.items() if e.label in _rows(benchmark)]
    algorithms = list(dict.fromkeys([*expected, *runs["algorithm"]]))
    labels = in_order(map(label_of, algorithms))
    fractions = sorted({*benchmark.table2, *runs["support_fraction"]})
    cells = accuracy_cells(runs)
    found = accuracies(runs)

    target = (configured.get("report") or {}).get("target_accuracy")
    curves = _by_seed(runs, histories, labels)
    clients = _by_seed(runs, scores, labels)
    overheads = {} if target is None else _overheads(curves, target, source)
    costs = [t.assign(support_fraction=p) for p, t in overheads.items()]

    tables = {
        "table2": table2(cells, labels, fractions, paper, source),
        "gains": gains_table(found, fractions, paper, source),
    }
    shown = {
        "table2": accuracy_words(tables["table2"], fractions),
        "before": before_words(tables["table2"], fractions),
        "gains": gain_words(tables["gains"], fractions),
    }
    if costs:
        tables["overhead"] = pd.concat(costs, ignore_index=True)
        shown["overhead"] = overhead_words(tables["overhead"])
    figures = {
        "accuracy": accuracy_bands(curves, source, target),
        "loss": loss_bands(curves, source),
        "density": client_density(clients, source),
        **{
            f"overhead_p{100 * p:g}": overhead_bars(
                table, f"{percent(p)} support · {source}"
            )
            for p, table in overheads.items()
        },
    }
    missing = missing_cells(
        set(runs[CELL].itertuples(index=False, name=None)),
        algorithms,
        fractions,
        wanted_seeds(runs["seed"].dropna()),
    )
    newest = runs.loc[runs["ended"].idxmax()]
    given = given_parameters(_recorded(runs), configured, newest["benchmark"])
    return Study(
        name,
        benchmark.label,
        source,
        synthetic(runs),
        stands_in(runs),
        {**tables, "runs": runs_table(runs)},
        shown,
        figures,
        _table2_parts(shown, overheads, paper is not None),
        claims(
            found,
            benchmark.table2,
            overheads,
            {} if target is None else _rounds(runs, histories, target),
            fractions,
        ),
        list(gains(found).values()),
        commands(missing, newest["benchmark"], newest["env"], given),
        given.written,
        notes_on(chosen, histories, scores),
        parameters_of(chosen, newest["benchmark"]),
    )


def table3_study(
    name: str,
    chosen: Chosen,
    histories: Frames,
    scores: Frames,
    configured: Mapping[str, Any],
    described: pd.DataFrame | None,
) -> Study:
    """Table 3 and Figures 6 and 7 of one experiment.

    The scores of all seeds are put together: since every seed tests the same records,
    the accuracies are means over seeds.

    Args:
        name: The experiment's.
        chosen: Its runs; at least one.
        histories: By run id; may lack some.
        scores: By run id; may lack some.
        configured: The benchmark's parameters as the files have them; may be empty.
        described: A ``table3`` that one of the runs logged: labels, kinds and sizes of
            the methods.
    """
    runs = chosen.runs
    benchmark, source = _benchmark(runs), source_of(runs, _benchmark(runs))
    methods = _methods(runs, described)
    tested = {
        method.label: together(frames)
        for method in methods
        if (frames := _frames(runs[runs["algorithm"] == method.id], scores))
    }
    trained = {
        method.label: mean_history(frames)
        for method in methods
        if method.kind == "meta"
        and (frames := _frames(runs[runs["algorithm"] == method.id], histories))
    }
    table = table3(methods, tested, source, paper=not stands_in(runs))
    by_seed = {
        seed: table3(
            methods, _of_seed(runs, methods, scores, seed), source, paper=False
        )
        for seed in runs["seed"].dropna().unique()
    }
    newest = runs.loc[runs["ended"].idxmax()]
    given = given_parameters(_recorded(runs), configured, newest["benchmark"])
    seeds = sorted(runs["seed"].dropna().unique())
    lacking = [seed for seed in wanted_seeds(seeds) if seed not in seeds]
    pipeline = f"{newest['benchmark']}_fedmeta"
    line = command_line(pipeline, newest["env"], {"seed": lacking}, given)
    words = grouped(table)
    return Study(
        name,
        benchmark.label,
        source,
        synthetic(runs),
        stands_in(runs),
        {"table3": table, "runs": runs_table(runs)},
        {"table3": words},
        {
            "episodes": episode_curves(trained, source),
            "steps": step_curves(methods, tested, source),
        },
        [
            Section(
                "Table 3: recommending the next service",
                "Top-1 is how often a method's first suggestion is right, Top-4 how "
                "often one of its first four, in percent of all test users' query "
                f"records; means over {seed_words(seeds)}.",
                words,
                [],
                level=3,
            ),
            Section(
                "Figures 6 and 7",
                "",
                None,
                [
                    (
                        "episodes",
                        "A curve that rises earlier needs fewer episodes. Means over "
                        "seeds. Validation users learn from as large a share of their "
                        "records as partition.support_fraction says; in the paper's "
                        "Figure 6 it is 80 %.",
                    ),
                    (
                        "steps",
                        "The curves are LR and NN, trained from scratch on each user's "
                        "support; a dot is a model that starts from what other users "
                        "have taught it; dotted lines are methods without steps.",
                    ),
                ],
                level=3,
            ),
        ],
        orderings(by_seed),
        [],
        [Command(line, f"all methods: {seed_words(lacking)}")] if lacking else [],
        given.written,
        notes_on(chosen, histories, scores),
        parameters_of(chosen, newest["benchmark"]),
    )


def source_of(runs: pd.DataFrame, benchmark: Benchmark) -> str:
    """What the data are, for titles: only its own data get a benchmark's name."""
    first = runs.iloc[0]
    if synthetic(runs):
        return f"synthetic sample, not {benchmark.label}"
    if first["data_name"]:
        return f"{first['data_name']}, not {benchmark.label}"
    return benchmark.label


def runs_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Which run stands for which cell."""
    columns = ["algorithm", "support_fraction", "seed", "diverged", "run_id", "commit"]
    table = runs[columns].copy()
    table["ended"] = pd.to_datetime(runs["ended"], unit="ms").dt.strftime(
        "%Y-%m-%d %H:%M:%S"
    )
    return table


def _table2_parts(
    shown: Mapping[str, Shown], overheads: Mapping[float, Any], paper: bool
) -> list[Section]:
    beside = (
        " Beside it the paper's Table 2, and ours less the paper's." if paper else ""
    )
    parts = [
        Section(
            "Table 2: accuracy after adaptation",
            "Percent of all test clients' query records: mean over seeds ± sample "
            "standard deviation (number of seeds), after the last round; the best of a "
            f"column is bold.{beside}",
            shown["table2"],
            [],
            level=3,
        ),
        Section(
            "Before adaptation",
            "The shared model as it is. FedMeta trains it for being adapted, and "
            "before that it can be poor.",
            shown["before"],
            [],
            level=3,
        ),
        Section(
            "FedMeta's gain over FedAvg",
            "Difference of the means after adaptation, in points.",
            shown["gains"],
            [],
            level=3,
        ),
        Section(
            "Figures 2, 4 and 5: how fast each algorithm learns",
            "The paper's Figure 2 is at 20 % support, Figure 4 at 50 %, Figure 5 at "
            "90 %.",
            None,
            [
                (
                    "accuracy",
                    "A curve that rises earlier needs fewer rounds; what these compute "
                    "is below, under the cost of the target accuracy. Lines are means "
                    "over seeds, bands one standard deviation to either side; the gap "
                    "between solid and dashed is what adapting is worth. Not smoothed.",
                ),
                (
                    "loss",
                    "Lower is better. Training losses are each algorithm's own: "
                    "FedAvg's is on all records, FedMeta's on query records after "
                    "adaptation, so compare their shapes, not their heights.",
                ),
            ],
            level=3,
        ),
        Section(
            "Is it fair to every client?",
            "",
            None,
            [
                (
                    "density",
                    "Each hump is the spread of the test clients' accuracies, those of "
                    "all seeds together. Further right is better, narrower is fairer; "
                    "triangles mark means.",
                )
            ],
            level=3,
        ),
    ]
    if overheads:
        parts.append(
            Section(
                "Figure 3: cost of the target accuracy",
                "All that was spent, by all clients, until the mean over seeds of the "
                "validation accuracy first reached the target.",
                shown["overhead"],
                [
                    (
                        f"overhead_p{100 * p:g}",
                        f"{percent(p)} support: shorter is cheaper.",
                    )
                    for p in overheads
                ],
                level=3,
            )
        )
    return parts


def _rows(benchmark: Benchmark) -> set[str]:
    """The rows of the paper's table."""
    return {label for row in benchmark.table2.values() for label in row}


def _by_seed(runs: pd.DataFrame, frames: Frames, labels: Sequence[str]) -> BySeed:
    """Histories or scores by support fraction and label, a frame a seed."""
    found: dict[float, dict[str, list[pd.DataFrame]]] = {}
    for p, at_p in runs.groupby("support_fraction"):
        names = at_p["algorithm"].map(label_of)
        by_label = {
            label: tables
            for label in labels
            if (tables := _frames(at_p[names == label], frames))
        }
        if by_label:
            found[float(p)] = by_label
    return found


def _frames(runs: pd.DataFrame, frames: Frames) -> list[pd.DataFrame]:
    return [frames[run] for run in runs["run_id"] if run in frames]


def _rounds(runs: pd.DataFrame, histories: Frames, target: float) -> Accuracies:
    """Rounds to the target of every cell, by seed; infinite where never reached."""
    found: dict[float, dict[str, Value]] = {}
    for (algorithm, p), cell in runs.groupby(["algorithm", "support_fraction"]):
        rounds, words = {}, ""
        for run in cell.itertuples():
            if run.run_id in histories:
                history = histories[run.run_id]
                words = words or divergence(history)
                row = first_reaching(history, target)
                rounds[run.seed] = np.inf if row is None else row["round"]
        value = Value(pd.Series(rounds, dtype=float), words)
        found.setdefault(float(p), {})[label_of(algorithm)] = value
    return found


def _overheads(curves: BySeed, target: float, source: str) -> dict[float, pd.DataFrame]:
    """The cost of the target by support fraction, of the mean curves."""
    return {
        p: overhead_table(
            {label: mean_history(tables) for label, tables in by_label.items()},
            target,
            source,
        )
        for p, by_label in curves.items()
    }


def _of_seed(
    runs: pd.DataFrame, methods: Sequence[Method], scores: Frames, seed: int
) -> dict[str, pd.DataFrame]:
    """One seed's scores by label; what has no seed is the same under each."""
    own = runs[runs["seed"].isna() | (runs["seed"] == seed)]
    return {
        method.label: frames[0]
        for method in methods
        if (frames := _frames(own[own["algorithm"] == method.id], scores))
    }


def _methods(runs: pd.DataFrame, described: pd.DataFrame | None) -> list[Method]:
    """In the order of the described ones; then any others."""
    methods = {}
    if described is not None:
        for row in described.drop_duplicates("id").itertuples():
            size = None if pd.isna(row.parameters) else int(row.parameters)
            methods[row.id] = Method(row.id, row.method, row.kind, size)
    for name in runs["algorithm"]:
        methods.setdefault(name, Method(name, name, "meta", None))
    return list(methods.values())


def _benchmark(runs: pd.DataFrame) -> Benchmark:
    return BENCHMARKS[runs["benchmark"].iloc[0]]


def synthetic(runs: pd.DataFrame) -> bool:
    return runs["source"].iloc[0] != "real"


def stands_in(runs: pd.DataFrame) -> bool:
    return synthetic(runs) or bool(runs["data_name"].iloc[0])


def _recorded(runs: pd.DataFrame) -> dict[str, Mapping[str, str]]:
    """The parameters of each algorithm's newest run."""
    newest = runs.sort_values("ended").drop_duplicates("algorithm", keep="last")
    return dict(zip(newest["algorithm"], newest["parameters"], strict=True))


def notes_on(chosen: Chosen, histories: Frames, scores: Frames) -> list[str]:
    runs = chosen.runs
    commits = sorted({commit[:12] for commit in runs["commit"] if commit})
    dirty = any("dirty" in commit for commit in runs["commit"])
    notes = [
        f"{counted(len(runs))} count, made by the commits {', '.join(commits)}"
        f"{', some of them with local changes' if dirty else ''}."
        if commits
        else f"{counted(len(runs))} count."
    ]
    if chosen.repeated:
        notes.append(
            f"{counted(chosen.repeated)} of the same cells left out: newer ones count."
        )
    notes += [
        f"{label_of(run.algorithm)}, {percent(run.support_fraction)} support"
        f"{'' if pd.isna(run.seed) else f', seed {run.seed}'}: {run.diverged}; no mean"
        " is taken over what is left."
        for run in runs[runs["diverged"] != ""].itertuples()
    ]
    if chosen.unfinished:
        notes.append(f"{counted(chosen.unfinished)} did not finish, or still go on.")
    notes += [other_words(other) for other in chosen.others]
    if chosen.others:
        notes.append(
            "kedro reproduce --where NAME=VALUE takes the runs with another value."
        )
    bare = len(set(runs["run_id"]) - set(histories) - set(scores))
    if bare:
        notes.append(
            f"{counted(bare)} without files: in the tables, but not in the figures."
        )
    return notes


def parameters_of(chosen: Chosen, benchmark: str) -> dict[str, str]:
    """The settings under the names that Kedro's parameters have."""
    return {
        f"{benchmark}.{name.replace(OWN, f'{algorithm}.', 1)}": value
        for algorithm, setting in chosen.settings.items()
        for name, value in setting.items()
        if not name.startswith("code.")
    }
