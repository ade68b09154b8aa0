"""The few numbers that a user sees in the terminal when a run has ended."""

from io import StringIO

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from fedmeta.reporting.wording import MISSING, column_of

# short headings: the table fits a terminal of 80 characters
HEADINGS = {
    "algorithm": "Algorithm",
    "micro_before": "Before",
    "micro_after": "After",
    "paper": "Paper",
    "rounds": "Rounds",
    "bytes_down": "Received",
    "bytes_up": "Sent",
    "flops": "Compute",
}


def terminal_table(accuracy: pd.DataFrame, source: str, footnote: str = "") -> Table:
    """The headline of ``accuracy_table`` for rich to print.

    Args:
        accuracy: The result of ``accuracy_table``.
        source: What the data are, for the title.
        footnote: Where to look next; shown below the table.
    """
    table = Table(
        title=f"Test accuracy before and after adaptation · {source}",
        title_justify="left",
        title_style="bold",
        caption=footnote or None,
        caption_justify="left",
        caption_style="",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    names = [name for name in HEADINGS if not accuracy[name].isna().all()]
    for name in names:
        left = name == "algorithm"
        table.add_column(
            HEADINGS[name], justify="left" if left else "right", no_wrap=True
        )
    best = accuracy["micro_after"].max()
    for _, row in accuracy.iterrows():
        cells = [
            MISSING if pd.isna(row[name]) else column_of(name).text(row[name])
            for name in names
        ]
        table.add_row(*cells, style="bold" if row["micro_after"] == best else "")
    return table


def terminal_text(
    accuracy: pd.DataFrame, source: str, footnote: str = "", width: int = 80
) -> str:
    """The same as plain text without colours, ``width`` characters wide at most."""
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(terminal_table(accuracy, source, footnote))
    # every line is padded to the width
    lines = console.file.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines)
