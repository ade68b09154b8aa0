"""A report: what a study's page shows, and the page itself."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from fedmeta.reporting.shown import Shown
from fedmeta.reporting.verdicts import Claim

RULE = """
Held, or not held, is what the differences between the two sides, paired by seed, tell
from zero: their 95 % interval over at least three seeds. Everything else that was
measured is undecided, with the side that its figures are on. After ± stands a standard
error over users, or a standard deviation over seeds."""
TABLES = """
results.parquet and histories.parquet beside this page have all of these numbers, a row
a client and an evaluated round, for pandas."""


class Section(NamedTuple):
    """A part of the page under a heading of its own, in this order."""

    title: str  # its heading
    text: str = ""  # what is shown and how to read it
    table: Shown | None = None  # shown under the text
    figures: Mapping[str, tuple[Figure, str]] = {}  # by name; what to see in each
    note: str = ""  # below the table
    claims: Sequence[Claim] = ()  # what a paper says, checked here
    commands: Sequence[tuple[str, str]] = ()  # words, and what to type
    # above all else, loudly: a title and a sentence
    warning: tuple[str, str] | None = None
    level: int = 2  # of the heading, 2 or 3


class Report(NamedTuple):
    """What a study says of its results."""

    heading: str  # the page's title
    summary: str  # the outcome in a sentence or two
    tables: Mapping[str, pd.DataFrame]  # to be saved, by name
    # in the order in which they are shown, after the claims
    sections: Sequence[Section]
    claims: Sequence[Claim] = ()  # what the paper says, checked here
    next: Sequence[str] = (TABLES,)  # where to look next, beside what every page says
    notes: Sequence[str] = ()  # sentences on the data, beside the study's
    # the paper's data beside this run's, if there is such a table
    statistics: Shown | None = None

    @property
    def figures(self) -> dict[str, Figure]:
        """Those of all sections, by name."""
        shown = (section.figures.items() for section in self.sections)
        return {name: figure for pairs in shown for name, (figure, _) in pairs}


class DataNote(NamedTuple):
    """What a page says of the data and the run."""

    benchmark: str  # the real data set's name, such as "FEMNIST"
    source: str  # what the data of this run are, such as "synthetic sample"
    synthetic: bool  # whether to say loudly that the data were generated
    stands_in: bool  # whether to say loudly that they are not the benchmark's own
    # the run's parameters, nested as they are in the configuration
    parameters: Mapping[str, Any]
    notes: Sequence[str]  # sentences on how the data were prepared


def render(report: Report, data: DataNote) -> str:
    """The page as HTML: style and figures inside, no request to anywhere."""
    environment = Environment(
        loader=PackageLoader("fedmeta.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    expected = "Does what the paper leads one to expect hold here?"
    checked = [Section(expected, note=RULE, claims=report.claims)]
    return environment.get_template("page.html.j2").render(
        **report._asdict()
        | data._asdict()
        | {
            "sections": [*(checked if report.claims else ()), *report.sections],
            "svg": svg_data,
            "parameters": flatten(data.parameters),
        }
    )


def svg_data(figure: Figure) -> str:
    """The figure as a data URI: an image of its own, so ids of two cannot collide."""
    buffer = BytesIO()
    # no date and no random ids: the same figure gives the same page
    with matplotlib.rc_context({"svg.hashsalt": "fedmeta"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted names and text."""
    flat: dict[str, str] = {}
    for name, value in parameters.items():
        # Kedro has turned typed blocks into records.
        value = value.model_dump() if hasattr(value, "model_dump") else value  # noqa: PLW2901
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
