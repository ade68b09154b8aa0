"""Terminal output of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from fedmeta.sweep.cells import Cell
from fedmeta.sweep.grid import typed


def plan_table(cells: Sequence[Cell], states: Mapping[int, str]) -> Table:
    """Table of cells: parameters, and whether each has to run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cell", justify="right")
    for name in typed(cells[0].given):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("state")
    for cell in cells:
        table.add_row(
            str(cell.number), *typed(cell.given).values(), states[cell.number]
        )
    return table


def overwritten(cells: Sequence[Cell], results: Mapping[int, set[Path]]) -> list[str]:
    """Parameters in which cells differ that write the same files."""
    first: dict[Path, Cell] = {}
    names: dict[str, None] = {}
    for cell in cells:
        for path in results[cell.number]:
            other = first.setdefault(path, cell)
            differ = [n for n in cell.given if cell.given[n] != other.given[n]]
            names |= dict.fromkeys(differ)
    return list(names)
