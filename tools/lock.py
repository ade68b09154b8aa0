"""Turn pip's resolution reports into lock files: ``lock.py REPORT [SKIP]`` to stdout.

A report comes from ``pip install --dry-run --ignore-installed --report``; packages
that the report SKIP has already are left out. ``make lock`` runs it twice.
"""

import json
import sys
from pathlib import Path

HEADER = """\
# Written by `make lock`; do not edit. Resolved for Python {python} on {platform}.
# To update: change the ranges in pyproject.toml (or nothing), run `make lock test`,
# and commit both lock files.
"""


def pins(report: dict) -> dict[str, str]:
    """Package name -> version, without the project itself.

    A local version such as ``+cpu`` is dropped, so that the pin also fits the
    package's other builds.
    """
    found = {}
    for item in report["install"]:
        name = item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        if name != "fedmeta":
            found[name] = item["metadata"]["version"].split("+")[0]
    return found


def main() -> None:
    reports = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    environment = reports[0]["environment"]
    skip = pins(reports[1]) if len(reports) > 1 else {}
    header = HEADER.format(
        python=environment["python_version"], platform=environment["sys_platform"]
    )
    lines = [
        f"{n}=={v}\n" for n, v in sorted(pins(reports[0]).items()) if n not in skip
    ]
    sys.stdout.write(header + "".join(lines))


if __name__ == "__main__":
    main()
