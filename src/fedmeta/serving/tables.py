"""Rows of users' records from files and standard input; predictions as text."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
from pyarrow import parquet

from fedmeta.data.errors import DataError, printable
from fedmeta.serving.personal import UNCALIBRATED

STANDARD_INPUT = "-"
_NO_SPACE = re.compile(r"[^ \t\r\n]")  # as JSON has it


def read_rows(source: str | Path) -> pd.DataFrame:
    """Rows of a CSV, TSV, Parquet, JSON (a list of objects) or JSON Lines file.

    Args:
        source: the file, whose kind its suffix says; "-" is standard input, CSV or
            JSON.

    Raises:
        DataError: for a file that is none of these.
    """
    if str(source) == STANDARD_INPUT:
        content, name = sys.stdin.buffer.read(), "standard input"
        kind = "json" if content.lstrip()[:1] in (b"[", b"{") else "csv"
    else:
        path = Path(source)
        content, name = path.read_bytes(), str(source)
        kind = path.suffix.removeprefix(".")
    if kind not in READERS:
        known = ", ".join(f".{k}" for k in READERS)
        raise DataError(f"{name}: expected a file of one of {known}")
    try:
        return READERS[kind](content)
    except RecursionError:
        problem = "nested too deeply"
    except (ValueError, TypeError, OSError, csv.Error) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    raise DataError(
        f"{name}: cannot be read as {kind} ({problem}); mend it or write it again"
    )


def written(predictions: pd.DataFrame, style: str) -> None:
    """Print predictions; in JSON with their notes, else with these on standard error.

    Args:
        predictions: of `personalise` or `recommend`.
        style: "text", "csv" or "json".
    """
    notes = predictions.attrs["notes"]
    if style == "json":
        rows = predictions.to_dict(orient="records")
        held = {"calibrated": False, "notes": notes, "predictions": rows}
        click.echo(json.dumps(held, ensure_ascii=False))
        return
    if style == "csv":
        click.echo(predictions.to_csv(index=False), nl=False)
    else:
        for row in predictions.itertuples(index=False):
            click.echo("  ".join(map(_cell, row)))
    for line in (*notes, UNCALIBRATED):
        click.echo(printable(line), err=True)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def _csv(content: bytes, delimiter: str = ",") -> pd.DataFrame:
    # All as texts: whoever reads a column knows what it is. A row that is too short, or
    # a quote that is left open, may be where the file was cut.
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(len(content) + 1)  # of images, for all of Python
    try:
        rows = [(lines.line_num, row) for row in lines if row]
    finally:
        csv.field_size_limit(limit)
    if not rows:
        raise ValueError("the file is empty")
    _, names = rows.pop(0)
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ValueError(f"column {twice!r} is there twice; rename one of them")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(
                f"line {line} has {len(row)} columns; expected {len(names)}"
            )
    return pd.DataFrame([row for _, row in rows], columns=names, dtype=str)


def _json(content: bytes) -> pd.DataFrame:
    """One list of objects, or objects one after another."""
    text, decoder, at = content.decode("utf-8-sig"), json.JSONDecoder(), 0
    rows: list[Any] = []
    while found := _NO_SPACE.search(text, at):
        value, at = decoder.raw_decode(text, found.start())
        rows += value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects, one a row")
    return pd.DataFrame(rows, dtype=object)


def _parquet(content: bytes) -> pd.DataFrame:
    # Without pandas' own metadata: an index may be the column that names the users.
    table = parquet.read_table(io.BytesIO(content))
    table.validate(full=True)  # texts are UTF-8, which nobody checked
    return table.to_pandas(ignore_metadata=True)


READERS: dict[str, Callable[[bytes], pd.DataFrame]] = {
    "csv": _csv,
    "tsv": partial(_csv, delimiter="\t"),
    "json": _json,
    "jsonl": _json,
    "parquet": _parquet,
}
