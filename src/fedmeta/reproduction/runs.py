"""What MLflow has recorded, as frames. Only this module of the package knows MLflow.

Final accuracies and parameters come with the list of runs, in one query. Curves and
scores are the CSV files that each run logged: one file a run, where MLflow's own
histories take a query a metric.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd

from fedmeta.data.cells import read_table
from fedmeta.data.errors import DataError
from fedmeta.data.names import listed
from fedmeta.identity import conflicts
from fedmeta.tracking.record import REPORTED
from fedmeta.tracking.sender import told
from fedmeta.tracking.uri import database_file, shown

PAGE = 1000  # runs a query
TAGS = (
    *("benchmark", "algorithm", "source", "data_name", "data_checksum", "store"),
    "record",  # where it is in the project, quoted
    "diverged",  # where: a `fedmeta.core.types.Divergence` in words
)
FINISHED = "FINISHED"
EARLIER = {  # columns of scores recorded before a sum was called by its metric
    f"{earlier}_{when}": f"{metric}_sum_{when}"
    for earlier, metric in (("correct", "accuracy"), ("loss", "loss"))
    for when in ("before", "after")
}


class Recorded:
    """A tracking store, opened to read."""

    def __init__(self, uri: str) -> None:
        """Open it.

        Raises:
            DataError: where there is no such file, since MLflow would make an empty
                one, or no server that answers.
        """
        place = database_file(uri)
        if place is not None and not place.is_file():
            raise DataError(
                f"{place}: there is no such store, expected runs that MLflow recorded; "
                "kedro run --pipeline femnist_fedmeta makes some"
            )
        # Late: MLflow takes a second to import.
        from fedmeta.tracking.database import open_to_read  # noqa: PLC0415

        try:
            self._client = open_to_read(uri)
        except Exception as error:
            raise DataError(f"MLflow ({shown(uri)}): {told(error)}") from error

    def runs(self, experiments: Sequence[str] = ()) -> pd.DataFrame:
        """A row a run of this project's algorithms.

        Args:
            experiments: their names in MLflow; none: all there are.

        Returns:
            ``run_id, experiment``, the tags of `TAGS`, ``support_fraction`` (float),
            ``seed`` (Int64, missing for what has none), ``env``, ``commit``, ``code``
            (hashes of modules; empty of an older run),
            ``status``, ``ended`` (milliseconds), ``artifacts`` (their URI),
            ``parameters`` and ``metrics`` (dictionaries).

        Raises:
            DataError: for an unknown experiment, and where no run is left.
        """
        known = {e.name: e.experiment_id for e in self._client.search_experiments()}
        unknown = [name for name in experiments if name not in known]
        if unknown:
            raise DataError(
                f"no experiment {unknown[0]!r} in this store, expected one of "
                f"{listed(sorted(known))}"
            )
        ids = [known[name] for name in experiments or known]
        names = {number: name for name, number in known.items()}
        rows = [
            _row(run, names[run.info.experiment_id])
            for run in self._search(ids)
            if {"benchmark", "algorithm"} <= set(run.data.tags)
        ]
        if not rows:
            raise DataError(
                "no run of this project's pipelines is recorded in this store; "
                "kedro run --pipeline femnist_fedmeta makes some"
            )
        return pd.DataFrame(rows).astype({"seed": "Int64", "support_fraction": float})

    def tables(self, runs: pd.DataFrame, kind: str) -> dict[str, pd.DataFrame]:
        """The runs' "history" or "scores", by run id; what is not there is left out.

        Those of a training that diverged are marked: `fedmeta.reporting.results`.
        """
        found = {}
        for run in runs.itertuples():
            table = self.table(run, f"{run.algorithm}_{kind}.csv")
            if run.diverged:
                table = pd.DataFrame({"round": []}) if table is None else table
                number = re.search(r"\d+", run.diverged)
                table.attrs["diverged"] = {"round": int(number[0]) if number else 0}
            if table is not None:
                found[run.run_id] = table
        return found

    def table(self, run: Any, path: str) -> pd.DataFrame | None:
        """A CSV file among a run's artifacts, if it is there.

        Args:
            run: with ``run_id`` and ``artifacts``.
            path: below the run's artifacts.

        Raises:
            DataError: for one that is damaged.
        """
        place = urlparse(run.artifacts)
        if place.scheme in ("", "file"):
            file = Path(unquote(place.path), path)
            return _read(file, run.run_id) if file.is_file() else None
        folder = path.rpartition("/")[0] or None
        there = self._client.list_artifacts(run.run_id, folder)
        if path not in {file.path for file in there}:
            return None
        with tempfile.TemporaryDirectory() as here:
            file = self._client.download_artifacts(run.run_id, path, here)
            return _read(file, run.run_id)

    def report(self, run: Any, name: str) -> pd.DataFrame | None:
        """A CSV file of the newest report that compares a run, if it is there.

        Runs of earlier versions of this project have their report among their own
        files.

        Args:
            run: With ``run_id``, ``artifacts`` and ``record``.
            name: Of the file.
        """
        among = Path(unquote(run.record)).name
        reports = [
            report.info
            for report in self._reports
            if among in report.data.tags[REPORTED].split(", ")
        ]
        if reports:
            newest = max(reports, key=lambda info: info.end_time or 0)
            run = SimpleNamespace(run_id=newest.run_id, artifacts=newest.artifact_uri)
        return self.table(run, f"report/{name}")

    @cached_property
    def _reports(self) -> list[Any]:
        ids = [e.experiment_id for e in self._client.search_experiments()]
        return list(self._search(ids, f"tags.{REPORTED} LIKE '%'"))

    def _search(self, ids: Iterable[str], wanted: str = "") -> Iterator[Any]:
        token = None
        while True:
            found = self._client.search_runs(
                list(ids), wanted, max_results=PAGE, page_token=token
            )
            yield from found
            token = found.token
            if not token:
                return


def matching(runs: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    """The runs with those parameters; a run without such a parameter is kept.

    "store" counts as a parameter: presets that are compared have stores of their own.

    Raises:
        DataError: if none is left.
    """
    kept = [
        not conflicts({"store": store, **parameters}, wanted)
        for store, parameters in zip(runs["store"], runs["parameters"], strict=True)
    ]
    if not any(kept):
        pairs = ", ".join(f"{name}={value}" for name, value in wanted.items())
        raise DataError(
            f"no recorded run has {pairs}; names and values are those that MLflow "
            "shows as parameters, such as training.rounds=2000"
        )
    return runs[kept]


def _read(file: str | Path, run: str) -> pd.DataFrame:
    try:
        return read_table(file).rename(columns=EARLIER)
    except ValueError as error:  # of pandas, or of an encoding
        raise DataError(
            f"{Path(file).name} of MLflow's run {run}: {error}; delete this run in"
            " MLflow, and kedro track logs it again"
        ) from error


def _row(run: Any, experiment: str) -> dict[str, Any]:
    tags = run.data.tags
    return {
        "run_id": run.info.run_id,
        "experiment": experiment,
        **{name: tags.get(name, "") for name in TAGS},
        "support_fraction": tags.get("support_fraction") or None,
        "seed": int(tags["seed"]) if tags.get("seed") else None,
        "env": tags.get("kedro_env", "local"),
        "commit": tags.get("git_commit", ""),
        "code": json.loads(tags.get("code", "{}")),
        "status": run.info.status,
        "ended": run.info.end_time or 0,
        "artifacts": run.info.artifact_uri,
        "parameters": dict(run.data.params),
        "metrics": dict(run.data.metrics),
    }
