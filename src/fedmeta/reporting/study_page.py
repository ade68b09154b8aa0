"""The page of a study of a related paper: its claims, then tables and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from fedmeta.reporting.claims import Claim
from fedmeta.reporting.page import Page, render, rows_of
from fedmeta.reporting.wording import Column, readable

NO_COLUMNS: Mapping[str, Column] = {}


class Section(NamedTuple):
    """A part of the page under a heading of its own.

    Attributes:
        title: Its heading.
        text: What is shown and how to read it.
        table: Shown under the text; its column "source" is left out, since the page
            says once what the data are.
        columns: How to show the table's columns; others keep their names.
        figure: Which of the page's figures belongs here.
        caption: What to see in the figure.
    """

    title: str
    text: str
    table: pd.DataFrame | None = None
    columns: Mapping[str, Column] = NO_COLUMNS
    figure: str | None = None
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyPage(Page):
    """A study of a related paper.

    Attributes:
        heading: The page's title.
        summary: The outcome in a sentence or two.
        claims: What the paper says, checked here.
        sections: In the order in which they are shown.
        figures: By the names that the sections ask for.
    """

    heading: str
    summary: str
    claims: Sequence[Claim]
    sections: Sequence[Section]


def render_study(page: StudyPage) -> str:
    """The page as HTML: style and figures inside, no request to anywhere."""
    return render(
        "study.html.j2",
        page,
        heading=page.heading,
        summary=page.summary,
        claims=page.claims,
        sections=[_shown(section) for section in page.sections],
    )


def _shown(section: Section) -> dict[str, object]:
    table = section.table
    if table is not None:
        table = readable(table.drop(columns="source", errors="ignore"), section.columns)
    return {
        **section._asdict(),
        "table": None if table is None else rows_of(table),
    }
