"""The few numbers that a user sees in the terminal when a run has ended."""

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedmeta.reporting.claims import VERDICTS, Claim
from fedmeta.reporting.recommendation_wording import cells, headings
from fedmeta.reporting.wording import (
    MISSING,
    column_of,
    further_metrics,
    with_intervals,
)

# short headings: the table fits a terminal of 80 characters
HEADINGS = {
    "algorithm": "Algorithm",
    "micro_before": "Before",
    "micro_after": "After",
    "micro_after_interval": "95 %",
    "paper": "Paper",
    "rounds": "Rounds",
    "bytes_total": "Traffic",
    "flops": "Compute",
}


def show(table: Table) -> None:
    """Print a table; its texts are no markup, since names of data may be in them."""
    Console(markup=False, emoji=False).print(table)


def terminal_table(accuracy: pd.DataFrame, source: str) -> Table:
    """The headline of ``accuracy_table`` for rich to print.

    Args:
        accuracy: The result of ``accuracy_table``.
        source: What the data are, for the title.
    """
    traffic = accuracy["bytes_down"] + accuracy["bytes_up"]
    accuracy = with_intervals(accuracy.assign(bytes_total=traffic))
    table = _table(f"Test accuracy before and after adaptation · {source}")
    table.padding = 0  # so that it fits
    headings = {}
    for name, heading in HEADINGS.items():
        headings[name] = heading
        if name == "micro_after":
            headings |= {n: column_of(n).title for n in further_metrics(accuracy)}
    names = [name for name in headings if not accuracy[name].isna().all()]
    for name in names:
        left = name == "algorithm"
        table.add_column(
            headings[name], justify="left" if left else "right", no_wrap=True
        )
    best = accuracy["micro_after"].max()
    for _, row in accuracy.iterrows():
        cells = [
            MISSING if pd.isna(row[name]) else column_of(name).text(row[name])
            for name in names
        ]
        if isinstance(words := row.get("training"), str):
            cells[0] += f"\n{words}"
        table.add_row(*cells, style="bold" if row["micro_after"] == best else "")
    return table


def recommendation_table(table: pd.DataFrame, source: str) -> Table:
    """Top-1 and Top-4 accuracy by support, each column's best in bold.

    Args:
        table: The result of ``table3``.
        source: What the data are, for the title.
    """
    table = table.drop(columns="parameters")  # the page has them; here is no room
    printed = _table(f"Test accuracy in percent, by support · {source}")
    for heading in headings(table):
        printed.add_column(
            "\n".join(filter(None, heading)),
            justify="left" if heading.title == "Method" else "right",
            vertical="bottom",
            no_wrap=True,
        )
    last_of_kind = table["kind"] != table["kind"].shift(-1)
    for row, last in zip(cells(table), last_of_kind, strict=True):
        texts = [Text(cell.text, style="bold" if cell.best else "") for cell in row]
        printed.add_row(*texts, end_section=last)
    return printed


def claims_table(claims: Sequence[Claim], source: str) -> Table:
    """What became of a paper's claims.

    Args:
        claims: In the order in which they are shown.
        source: What the data are, for the title.
    """
    printed = _table(f"Claims of the paper · {source}")
    printed.add_column("Claim")
    printed.add_column("Here", no_wrap=True)
    for claim in claims:
        printed.add_row(claim.claim, VERDICTS[claim.held])
    return printed


def _table(title: str) -> Table:
    return Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
