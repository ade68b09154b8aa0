"""Turn pip's resolution reports into lock files: ``lock.py REPORT [SKIP]`` to stdout.

A report comes from ``pip install --dry-run --ignore-installed --report``; packages
that the report SKIP has already are left out. ``make lock`` runs it twice, and lets uv
add the SHA-256 of all files of each version, whatever the platform: pip knows those of
this one alone. torch has none, since its CPU build, of another index, is another file.
"""

import json
import subprocess
import sys
from pathlib import Path

UV = Path("build/uv/bin/uv")  # made by `make lock`
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
    kept = {n: v for n, v in sorted(pins(reports[0]).items()) if n not in skip}
    torch = f"torch=={kept.pop('torch')}\n" if "torch" in kept else ""
    lines = [f"{name}=={version}\n" for name, version in kept.items()]
    sys.stdout.write(header + torch + hashed("".join(lines)))


def hashed(lines: str) -> str:
    """The lines, each with the hashes of the files that the index has of it."""
    plain = ["--no-deps", "--no-annotate", "--no-header", "--quiet"]
    done = subprocess.run(
        [UV, "pip", "compile", "--generate-hashes", *plain, "-"],
        input=lines,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
