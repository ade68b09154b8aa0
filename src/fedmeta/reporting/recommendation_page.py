"""The recommendation study's report as one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fedmeta.reporting.page import flatten, render, rows_of, svg_data
from fedmeta.reporting.recommendation_claims import orderings, verdict
from fedmeta.reporting.recommendation_wording import KINDS, cells, headings
from fedmeta.reporting.wording import readable


@dataclass(frozen=True)
class RecommendationReport:
    """What the page shows.

    Attributes:
        benchmark: What data that are not the study's own must not be taken for, such
            as "the paper's usage log".
        source: What the data of this run are, such as "synthetic sample".
        synthetic: Whether to say loudly that the data were generated.
        stands_in: Whether to say loudly that they are not the benchmark's own.
        table: The result of ``table3``.
        users: The result of ``users_table``.
        histories: Of the federated methods, by label; a row an evaluated episode.
        figures: By the names "episodes", "steps", "users".
        parameters: The run's parameters, nested as they are in the configuration.
        notes: Sentences on how the data were prepared.
        statistics: The paper's data beside this run's, if there is such a table.
    """

    benchmark: str
    source: str
    synthetic: bool
    stands_in: bool
    table: pd.DataFrame
    users: pd.DataFrame
    histories: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]
    parameters: Mapping[str, Any]
    notes: Sequence[str]
    statistics: pd.DataFrame | None = None


def render_recommendation(report: RecommendationReport) -> str:
    """The page as HTML: style and figures inside, no request to anywhere."""
    return render(
        "recommendation.html.j2",
        benchmark=report.benchmark,
        source=report.source,
        synthetic=report.synthetic,
        stands_in=report.stands_in,
        notes=report.notes,
        summary=verdict(report.table, report.histories),
        table=_grouped(report.table),
        paper=any(heading.whose for heading in headings(report.table)),
        users=_grouped(report.users.drop(columns="parameters")),
        orderings=orderings(report.table),
        statistics=None
        if report.statistics is None
        else rows_of(readable(report.statistics, columns={})),
        figures={name: svg_data(figure) for name, figure in report.figures.items()},
        parameters=flatten(report.parameters),
    )


def _grouped(table: pd.DataFrame) -> dict[str, list]:
    """A table whose columns are grouped by support and its rows by kind."""
    titles, rows = headings(table), zip(table["kind"], cells(table), strict=True)
    return {
        "groups": [
            {
                "title": _group_title(*group),
                "paper": group[0],
                "size": len(list(members)),
            }
            for group, members in groupby(titles, lambda heading: heading[:2])
        ],
        "titles": [heading.title for heading in titles],
        "kinds": [
            (KINDS[kind], [row for _, row in members])
            for kind, members in groupby(rows, lambda row: row[0])
        ],
    }


def _group_title(whose: str, support: str) -> str:
    if not support:
        return ""
    return f"{whose}, {support}" if whose else f"{support} support"
