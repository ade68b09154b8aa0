"""Golden files: every CSV of the smoke runs, in tests/golden, a file a home.

`tools/smoke.py` compares its results with them, and `tools/smoke.py --update` writes
them. Numbers have seven digits and count as equal within 1e-5, of themselves or of 1,
so that another processor agrees; numbers within texts may differ in their last digit.
"""

import math
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pandas as pd

from fedmeta.data.cells import READ

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
TOLERANCE, IN_TEXT = 1e-5, 0.011
NOT_COMPARED = {"runs", "sweeps"}  # copies for tracking, records of finished cells
VARIES = ["run_id", "commit", "ended"]  # columns
HEAD = "## "
NUMBER = re.compile(r"[-+−]?\d[\d,]*\.?\d*")


def results(data: Path, store: str, run: str) -> dict[str, str]:
    """The CSV files of a store's runs as text, by home and name below it.

    Args:
        data: the project's folder of data.
        store: the folder below its stages.
        run: such as "p0.2_seed0": other runs are left out.
    """
    found = {}
    for stage in ("07_model_output", "08_reporting"):
        for path in sorted((data / stage / store).rglob("*.csv")):
            home, *rest = path.relative_to(data / stage / store).parts
            if not NOT_COMPARED & {home, *rest} and (len(rest) == 1 or rest[0] == run):
                found[f"{home}/{'/'.join([stage, *rest])}"] = _plain(path)
    return found


def folder(path: Path, home: str) -> dict[str, str]:
    """The CSV and Markdown files of a folder as text, as of one home."""
    files = sorted([*path.rglob("*.csv"), *path.rglob("*.md")])
    return {f"{home}/{p.relative_to(path)}": _plain(p) for p in files}


def write(found: dict[str, str]) -> None:
    """Replace the golden files."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    homes: dict[str, list[str]] = {}
    for name, text in sorted(found.items()):
        home, _, rest = name.partition("/")
        homes.setdefault(home, []).append(f"{HEAD}{rest}\n{text}")
    for home, texts in homes.items():
        (GOLDEN / f"{home}.txt").write_text("".join(texts), encoding="utf-8")


def read() -> dict[str, str]:
    """The golden files, as `write` was given them."""
    found = {}
    for path in sorted(GOLDEN.glob("*.txt")):
        for part in ("\n" + path.read_text(encoding="utf-8")).split(f"\n{HEAD}")[1:]:
            name, _, text = part.partition("\n")
            found[f"{path.stem}/{name}"] = text.rstrip("\n") + "\n"
    return found


def differences(found: dict[str, str], wanted: dict[str, str]) -> Iterator[str]:
    """What differs, a line each."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            yield f"{name}: missing"
        elif name not in wanted:
            yield f"{name}: new"
        elif name.endswith(".csv"):
            yield from (f"{name}: {d}" for d in _cells(found[name], wanted[name]))
        elif not _same_text(found[name], wanted[name]):
            yield f"{name}: another text"


def _plain(path: Path) -> str:
    if path.suffix != ".csv":
        return path.read_text(encoding="utf-8")
    table = pd.read_csv(path, **READ)
    table = table.drop(columns=VARIES, errors="ignore")
    return table.to_csv(index=False, float_format="%.7g")


def _cells(found: str, wanted: str) -> Iterator[str]:
    one, other = (pd.read_csv(StringIO(t), dtype=str) for t in (found, wanted))
    for column in dict.fromkeys([*one, *other]):
        if column not in one or column not in other:
            yield f"column {column} {'missing' if column not in one else 'new'}"
        elif len(one) != len(other):
            yield f"{len(one)} rows, not {len(other)}"
            return
        else:
            pairs = zip(one[column], other[column], strict=True)
            for row, (a, b) in enumerate(pairs):
                if not _same(a, b):
                    yield f"{column}, row {row}: {a}, not {b}"


def _same(one: object, other: object) -> bool:
    if pd.isna(one) or pd.isna(other):
        return pd.isna(one) and pd.isna(other)
    try:
        a, b = float(one), float(other)
    except ValueError:
        return _same_text(str(one), str(other))
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _same_text(one: str, other: str) -> bool:
    numbers = [
        [float(n.replace(",", "").replace("−", "-")) for n in NUMBER.findall(t)]
        for t in (one, other)
    ]
    return NUMBER.sub("0", one) == NUMBER.sub("0", other) and all(
        math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=IN_TEXT)
        for a, b in zip(*numbers, strict=True)
    )
