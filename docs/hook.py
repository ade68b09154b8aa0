"""Build pages from what runs left behind: a hook of MkDocs.

`<!-- table: results/x.csv -->` in a page becomes that file as a table,
`<!-- curves: results/x.csv -->` its accuracy curves, and `<!-- notebook: x.ipynb -->`
the notebook of that name with its outputs.
"""

import csv
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

MARKER = re.compile(r"<!-- (table|curves|notebook): (\S+) -->")
BOOST = {"how-to": 8, "reference": 0.1}
TERMINAL = re.compile(r"\x1b\[[0-9;]*m")  # colours


def table(path: Path) -> str:
    """A CSV file as a Markdown table; numbers to the right, as they stand."""
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    rule = ["---:" if right else ":---" for right in numeric]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def curves(path: Path) -> str:
    """Accuracy by round as inline SVG.

    The file has the columns of a run's history and two more, ``algorithm`` (its label)
    and ``source`` (what the data are).
    """
    # Late: reading a table takes no plotting library.
    import pandas as pd  # noqa: PLC0415

    from fedmeta.reporting import curves, measures  # noqa: PLC0415

    history = pd.read_csv(path)
    lines = {
        label: curves.Line(
            measures.curve(rows, measures.AFTER),
            beside=measures.curve(rows, measures.BEFORE),
        )
        for label, rows in history.groupby("algorithm", sort=False)
    }
    title = f"Validation accuracy by round · {history['source'].iloc[0]}"
    svg = StringIO()
    curves.curves({"": lines}, title).savefig(svg, format="svg")
    # Without the XML header, and without blank lines, at which Markdown would stop.
    text = svg.getvalue()
    drawing = [line for line in text[text.index("<svg") :].splitlines() if line.strip()]
    return '<div class="curves">\n' + "\n".join(drawing) + "\n</div>"


def notebook(path: Path) -> str:
    """A notebook: its text, its code, and what the code has put out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell))


def _parts(cell: dict) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        found = {kind: "".join(lines) for kind, lines in output.get("data", {}).items()}
        if "image/png" in found:
            picture = found["image/png"].replace("\n", "")
            yield f"![What the code above draws](data:image/png;base64,{picture})"
        elif re.sub(r"<[^>]*>|\s", "", found.get("text/html", "")):
            # Without blank lines, at which Markdown would take it for text.
            yield re.sub(r"\n\s*\n", "\n", found["text/html"])
        elif output["output_type"] == "execute_result":
            text = TERMINAL.sub("", found["text/plain"])
            yield f"```text\n{text}\n```"


def on_page_markdown(markdown: str, config: dict, page: Any, **_: object) -> str:
    """Called by MkDocs for every page."""
    # What the search finds first: tasks before all else, and identifiers last.
    first = page.url.partition("/")[0]
    page.meta.setdefault("search", {"boost": BOOST.get(first, 1)})
    folder = Path(config["docs_dir"])
    make = {"table": table, "curves": curves, "notebook": notebook}
    return MARKER.sub(lambda found: make[found[1]](folder / found[2]), markdown)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[-+−±. \d%e]*|–|not reached", text))
