"""Tables as people see them: the same for HTML, Markdown and the terminal."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedmeta.reporting.wording import bytes_text, column_of, flops_text

HIDDEN = "source"  # a page says once what the data are


class TableCell(NamedTuple):
    """A cell: its text, whether it is its column's best, and a remark below it."""

    text: str
    best: bool = False
    remark: str = ""


class Shown(NamedTuple):
    """A table for people."""

    titles: Sequence[str]  # the columns' headings
    # groups of rows under a heading, which may be empty
    bodies: Sequence[tuple[str, Sequence[Sequence[TableCell]]]]
    # headings over several columns: (text, how many columns); or none
    groups: Sequence[tuple[str, int]] = ()

    @property
    def heads(self) -> list[tuple[str, str]]:
        """What stands over each column, or nothing, and its heading."""
        over = [text for text, count in self.groups for _ in range(count)]
        return list(zip(over or [""] * len(self.titles), self.titles, strict=True))


def shown(
    table: pd.DataFrame,
    alias: Mapping[str, str] | None = None,
    *,
    plain: bool = False,
    best: Sequence[str] = (),
    group: Callable[[str], str] | None = None,
    kinds: pd.Series | None = None,
) -> Shown:
    """A table under headings: how each column is written is said in `wording`.

    With several seeds, standard deviations stand behind their means, after ±.

    Args:
        alias: names under which `wording` has columns that it knows otherwise.
        plain: whether its columns are none that `wording` knows.
        best: columns whose highest value is marked.
        group: heading over a column, from its name; equal neighbours are joined.
        kinds: heading over rows; equal neighbours are joined.
    """
    names = [
        name
        for name in columns_in_sight(table)
        if name != HIDDEN and not (str(name).endswith("_sd") and name[:-3] in table)
    ]
    named = alias or {}
    columns = {name: column_of(named.get(name, name), plain=plain) for name in names}

    def cells(name: str) -> list[TableCell]:
        column, highest = columns[name], table[name].max() if name in best else None
        nothing = [None] * len(table)
        return [
            TableCell(column.missing)
            if pd.isna(value)
            else TableCell(
                column.text(value) + _deviation(sd, column.text),
                value == highest,
            )
            for value, sd in zip(
                table[name], table.get(f"{name}_sd", nothing), strict=True
            )
        ]

    rows = [list(row) for row in zip(*map(cells, names), strict=True)]
    heads = [""] * len(rows) if kinds is None else list(kinds)
    return Shown(
        [columns[name].title for name in names],
        [
            (head, [row for _, row in body])
            for head, body in groupby(
                zip(heads, rows, strict=True), lambda pair: pair[0]
            )
        ],
        [(t, len(list(g))) for t, g in groupby(map(group, names))] if group else (),
    )


def _deviation(sd: float | None, text: Callable[[Any], str]) -> str:
    """Behind a mean: in bytes or FLOP with a prefix of its own."""
    if sd is None or pd.isna(sd):
        return ""
    return f" ± {text(sd) if text in (bytes_text, flops_text) else f'{sd:.2f}'}"


def columns_in_sight(table: pd.DataFrame) -> list[str]:
    """The table's columns, "training" before the first that has no number for it."""
    names = [name for name in table if name != "training"]
    if len(names) == len(table.columns):
        return names
    lost = table.loc[table["training"].notna(), names].isna().any()
    place = int(lost.to_numpy().argmax()) if lost.any() else len(names)
    return [*names[:place], "training", *names[place:]]


def sideways(table: pd.DataFrame, by: str) -> Shown:
    """A row a measure with its meaning, a column a row of the table: it fits a page."""
    across = shown(table.drop(columns=by))
    names = [n for n in columns_in_sight(table) if n not in (by, HIDDEN)]
    lines = [line for _, body in across.bodies for line in body]
    rows = [
        [TableCell(title, remark=column_of(name).meaning), *cells]
        for name, title, *cells in zip(names, across.titles, *lines, strict=True)
    ]
    return Shown(["", *table[by]], [("", rows)])


def markdown(table: Shown) -> str:
    """The table in Markdown; a column's group stands in its heading."""
    titles = [": ".join(filter(None, pair)) for pair in table.heads]
    rules = [":---", *["---:"] * (len(titles) - 1)]
    rows = [
        [f"**{cell.text}**" if cell.best else cell.text for cell in row]
        for _, body in table.bodies
        for row in body
    ]
    escaped = [[text.replace("|", "\\|") for text in row] for row in [titles, *rows]]
    lines = [escaped[0], rules, *escaped[1:]]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def show(table: Shown, title: str, wrapped: int = 0) -> None:
    """Print a table; its texts are no markup, since names of data may be in them."""
    Console(markup=False, emoji=False).print(printable(table, title, wrapped))


def printable(table: Shown, title: str, wrapped: int = 0) -> Table:
    """A table for rich to print.

    Args:
        wrapped: how many columns on the left may be broken into lines.
    """
    printed = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    for number, head in enumerate(table.heads):
        printed.add_column(
            # in narrow columns: "Paper, 80 % support"
            "\n".join([*head[0].replace(" support", "").split(", "), head[1]]).strip(),
            justify="left" if number < max(wrapped, 1) else "right",
            vertical="bottom",
            no_wrap=number >= wrapped,
        )
    for _, body in table.bodies:
        for number, row in enumerate(body, 1):
            texts = [Text(cell.text, "bold" if cell.best else "") for cell in row]
            printed.add_row(*texts, end_section=number == len(body))
    return printed
