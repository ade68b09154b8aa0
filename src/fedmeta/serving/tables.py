"""Rows of users' records from files and standard input; predictions as text."""

import io
import json
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
    except (ValueError, TypeError, OSError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}: cannot be read as {kind} ({problem})") from None


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
    # All as texts: whoever reads a column knows what it is. The line of names is the
    # first row: else pandas renames what is there twice, and takes a field that has no
    # name for an index.
    found = pd.read_csv(
        io.BytesIO(content),
        sep=delimiter,
        header=None,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
    )
    names = [str(name) for name in found.iloc[0]]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"column {twice!r} is there twice; rename one of them")
    return found[1:].set_axis(names, axis=1).reset_index(drop=True)


def _json(content: bytes) -> pd.DataFrame:
    text = content.decode("utf-8-sig").strip()
    try:
        rows = json.loads(text)
    except ValueError:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = [rows] if isinstance(rows, dict) else rows
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects, one a row")
    return pd.DataFrame(rows, dtype=object)


def _parquet(content: bytes) -> pd.DataFrame:
    # Without pandas' own metadata: an index may be the column that names the users.
    return parquet.read_table(io.BytesIO(content)).to_pandas(ignore_metadata=True)


READERS: dict[str, Callable[[bytes], pd.DataFrame]] = {
    "csv": _csv,
    "tsv": partial(_csv, delimiter="\t"),
    "json": _json,
    "jsonl": _json,
    "parquet": _parquet,
}
