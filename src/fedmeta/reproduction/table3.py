"""The recommendation study over seeds: the paper's Table 3, Figures 6 and 7.

The scores of all seeds are put together: since every seed tests the same records, the
accuracies are means over seeds.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from fedmeta.reporting.divergence import divergence
from fedmeta.reporting.recommendation_claims import orderings
from fedmeta.reporting.recommendation_figures import episode_curves, step_curves
from fedmeta.reporting.recommendation_page import grouped
from fedmeta.reporting.recommendation_tables import Method, table3
from fedmeta.reporting.report import Report, Section
from fedmeta.reporting.results import Results
from fedmeta.reporting.shown import Shown
from fedmeta.reproduction.commands import seed_words


def table3_report(
    runs: pd.DataFrame,
    results: Results,
    scores: Mapping[str, pd.DataFrame],
    described: pd.DataFrame | None,
    *,
    stands_in: bool,
) -> tuple[Report, dict[str, Shown]]:
    """Table 3 and Figures 6 and 7, and the table in words by name.

    Args:
        runs: A row a method and seed; what has no seed is the same under each.
        results: Histories of the same.
        scores: By run id; may lack some.
        described: A ``table3`` that one of the runs logged: labels, kinds and sizes of
            the methods.
        stands_in: Whether the data are not the paper's.
    """
    methods = _methods(runs, described)
    seeds = sorted(runs["seed"].dropna().unique())

    def of(method: Method, seed: int | None = None) -> list[pd.DataFrame]:
        own = runs[runs["algorithm"] == method.id]
        if seed is not None:
            own = own[own["seed"].isna() | (own["seed"] == seed)]
        return [scores[run] for run in own["run_id"] if run in scores]

    tested = {x.label: together(frames) for x in methods if (frames := of(x))}
    by_seed = {
        seed: {x.label: frames[0] for x in methods if (frames := of(x, seed))}
        for seed in seeds
    }
    histories = {
        x.label: found
        for x in methods
        if x.kind == "meta" and len((found := results.where(algorithm=x.id)).histories)
    }
    source = results.source
    table = table3(methods, tested, source, paper=not stands_in)
    words = grouped(table)
    found = {s: table3(methods, t, source, paper=False) for s, t in by_seed.items()}
    report = Report(
        "Table 3",
        "",
        {"table3": table},
        {
            "episodes": episode_curves(histories, source),
            "steps": step_curves(methods, tested, source),
        },
        [
            Section(
                "Table 3: recommending the next service",
                f"{TABLE} Means over {seed_words(seeds)}.",
                words,
            ),
            Section(
                "Figures 6 and 7", figures=[("episodes", EPISODES), ("steps", STEPS)]
            ),
        ],
        orderings(found),
    )
    return report, {"table3": words}


def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Scores of all seeds; of none where one has diverged, and its mark."""
    table = pd.concat(frames, ignore_index=True)
    marked = [frame for frame in frames if divergence(frame)]
    if marked:
        table = table.iloc[:0]
        table.attrs = marked[0].attrs
    return table


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


TABLE = """
Top-1 is how often a method's first suggestion is right, Top-4 how often one of its
first four, in percent of all test users' query records."""
EPISODES = """
A curve that rises earlier needs fewer episodes. Means over seeds. Validation users
learn from as large a share of their records as partition.support_fraction says; in the
paper's Figure 6 it is 80 %."""
STEPS = """
The curves are LR and NN, trained from scratch on each user's support; a dot is a model
that starts from what other users have taught it; dotted lines are methods without
steps."""
