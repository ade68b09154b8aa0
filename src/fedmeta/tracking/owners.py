"""What datasets are to tracking, and whose they, a node and the code of a run are."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node


class Marked(NamedTuple):
    """A dataset that tracking is told of."""

    mark: str  # what it is: `fedmeta.tracking.hook`
    file: Path  # Path() in memory


def marked(catalog: CatalogProtocol, names: Iterable[str]) -> dict[str, Marked]:
    """Those of the datasets that have a mark in the catalog."""
    found = {}
    for name in names:
        dataset = catalog.get(name) if name in catalog else None
        mark = (getattr(dataset, "metadata", None) or {}).get("mlflow")
        if mark is not None:
            found[name] = Marked(mark, Path(getattr(dataset, "_filepath", "")))
    return found


class Owner(NamedTuple):
    """Owner of a dataset."""

    benchmark: str
    algorithm: str  # "" where it is nobody's in particular


def owner_of(dataset: str) -> Owner:
    """ "femnist.maml.history" -> femnist, maml; "femnist.statistics" -> femnist."""
    benchmark, *middle, _ = dataset.split(".")
    return Owner(benchmark, ".".join(middle))


def round_loop(node: Node) -> str:
    """The block of parameters that a node takes as ``training``.

    A study has a second one where some of its trainings differ in their rounds.
    """
    given = node._inputs  # by argument, which `node.inputs` does not tell
    named = given.get("training", "training") if isinstance(given, dict) else "training"
    return named.rpartition(".")[2]


def git_commit(project: Path) -> dict[str, str]:
    """The commit of the code, with "-dirty" where tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            command, cwd=project, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}  # no git, or no repository
    commit = answer.stdout.strip()
    return {"git_commit": commit, "mlflow.source.git.commit": commit}
