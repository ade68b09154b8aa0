"""The recommendation study over seeds: the paper's Table 3, Figures 6 and 7."""

import pandas as pd

from fedmeta.reporting.report import Report
from fedmeta.reporting.results import TOLD, Results
from fedmeta.reporting.shown import Shown
from fedmeta.reproduction.commands import seed_words
from fedmeta.studies.recommendation import EXPERIMENT, report_on

# By home and method: the cell's name and its factors.
CELLS = {
    (EXPERIMENT.home, name): (name, {"algorithm": name, **variant.factors})
    for name, variant in EXPERIMENT.variants.items()
}


def table3_report(
    results: Results, described: pd.DataFrame | None
) -> tuple[Report, dict[str, Shown]]:
    """Table 3 and Figures 6 and 7, means over seeds, and the table in words by name.

    Args:
        results: With the names and factors of `CELLS`; a method that was not run has a
            row without numbers.
        described: A ``table3`` that one of the runs logged, with sizes of the methods.
    """
    every = pd.DataFrame([variant.factors for variant in EXPERIMENT.variants.values()])
    cells = every.merge(results.cells, how="left")
    cells[TOLD] = cells[TOLD].fillna("")
    sizes = {}
    if described is not None:
        sizes = dict(described.set_index("id")["parameters"].dropna())
    report = report_on(results._replace(cells=cells), sizes)
    table, curves, _ = report.sections
    seeds = seed_words(sorted(results.values("seed")))
    title = "Table 3: recommending the next service"
    sections = [
        table._replace(title=title, text=f"{table.text} Means over {seeds}."),
        curves._replace(title="Figures 6 and 7"),
    ]
    report = report._replace(
        tables={"table3": report.tables["table3"]},
        figures={name: report.figures[name] for name, _ in curves.figures},
        sections=sections,
    )
    assert table.table is not None  # the section is that of the table
    return report, {"table3": table.table}
