"""The recommendation study's report as one HTML page."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from fedmeta.reporting.page import Page, render
from fedmeta.reporting.recommendation_claims import orderings, verdict
from fedmeta.reporting.recommendation_wording import KINDS, cells, headings


@dataclass(frozen=True, kw_only=True)
class RecommendationReport(Page):
    """The recommendation study.

    Attributes:
        benchmark: What data that are not the study's own must not be taken for, such
            as "the paper's usage log".
        table: The result of ``table3``.
        users: The result of ``users_table``.
        histories: Of the federated methods, by label; a row an evaluated episode.
        figures: By the names "episodes", "steps", "users".
    """

    table: pd.DataFrame
    users: pd.DataFrame
    histories: Mapping[str, pd.DataFrame]


def render_recommendation(report: RecommendationReport) -> str:
    """The page as HTML: style and figures inside, no request to anywhere."""
    return render(
        "recommendation.html.j2",
        report,
        summary=verdict(report.table, report.histories),
        table=_grouped(report.table),
        paper=any(heading.whose for heading in headings(report.table)),
        users=_grouped(report.users.drop(columns="parameters")),
        orderings=orderings(report.table),
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
