"""The whole report as one HTML page that needs nothing but itself."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from fedmeta.reporting.tables import BASELINE
from fedmeta.reporting.wording import (
    column_of,
    headline_columns,
    readable,
    with_intervals,
)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What every report's page shows.

    Attributes:
        benchmark: The real data set's name, such as "FEMNIST".
        source: What the data of this run are, such as "synthetic sample".
        synthetic: Whether to say loudly that the data were generated.
        stands_in: Whether to say loudly that they are not the benchmark's own.
        figures: By the names that the page's template asks for.
        parameters: The run's parameters, nested as they are in the configuration.
        notes: Sentences on how the data were prepared.
        statistics: The paper's data beside this run's, if there is such a table.
    """

    benchmark: str
    source: str
    synthetic: bool
    stands_in: bool
    figures: Mapping[str, Figure]
    parameters: Mapping[str, Any]
    notes: Sequence[str]
    statistics: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Report(Page):
    """The comparison of algorithms.

    Attributes:
        accuracy: The result of ``accuracy_table``.
        fairness: The result of ``fairness_table``.
        overhead: The result of ``overhead_table``.
        figures: By the names "accuracy", "loss", "density", "adaptation", "overhead",
            "targets".
    """

    accuracy: pd.DataFrame
    fairness: pd.DataFrame
    overhead: pd.DataFrame


def render_page(report: Report) -> str:
    """The page as HTML: style and figures inside, no request to anywhere."""
    accuracy = with_intervals(report.accuracy)
    return render(
        "report.html.j2",
        report,
        summary=summary(report.accuracy),
        headline=rows_of(readable(accuracy[headline_columns(accuracy)])),
        accuracy=_measures(accuracy),
        fairness=_measures(report.fairness),
        overhead=_measures(report.overhead),
    )


def summary(accuracy: pd.DataFrame, baseline: str = BASELINE) -> str:
    """The outcome in one or two sentences."""
    measured = accuracy.dropna(subset=["micro_after"])
    diverged = "".join(
        f" {row.algorithm} {row.training}."
        for row in accuracy.itertuples()
        if isinstance(getattr(row, "training", None), str)
    )
    if measured.empty:
        return f"No test client has been evaluated.{diverged}"
    best = measured.loc[measured["micro_after"].idxmax()]
    text = (
        f"After adapting to each test client, {best['algorithm']} classifies "
        f"{best['micro_after']:.1f} % of the query records correctly"
    )
    if best["algorithm"] == baseline or pd.isna(best["gain"]):
        return f"{text}.{diverged}"
    return (
        f"{text}, {best['gain']:.1f} points more than {baseline}, "
        f"whose model all clients share as it is.{diverged}"
    )


def render(template: str, page: Page, **own: Any) -> str:
    """One of this package's templates, filled in; a value it lacks is an error.

    Args:
        template: Its name.
        page: What it shows as every page does.
        **own: What it alone shows.
    """
    environment = Environment(
        loader=PackageLoader("fedmeta.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        benchmark=page.benchmark,
        source=page.source,
        synthetic=page.synthetic,
        stands_in=page.stands_in,
        notes=page.notes,
        # its columns are its own: "paper" there is no percentage
        statistics=None
        if page.statistics is None
        else rows_of(readable(page.statistics, columns={})),
        figures={name: svg_data(figure) for name, figure in page.figures.items()},
        parameters=flatten(page.parameters),
        **own,
    )


def rows_of(shown: pd.DataFrame) -> dict[str, list]:
    """A readable table for the template."""
    return {"titles": list(shown.columns), "rows": shown.to_numpy().tolist()}


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


def _measures(table: pd.DataFrame) -> dict[str, list]:
    """The table on its side, a row a measure with its meaning: it fits a page."""
    shown = readable(table.drop(columns=["source", "algorithm"]))
    columns = [column_of(name) for name in table.columns.drop(["source", "algorithm"])]
    rows = [
        (column.title, column.meaning, shown[column.title].tolist())
        for column in columns
    ]
    return {"algorithms": table["algorithm"].tolist(), "rows": rows}
