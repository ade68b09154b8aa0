"""What an MLflow store holds."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from fedmeta.tracking.uri import tracking_uri


def wait_for(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait_for_points(project: Path, runs: int = 2) -> None:
    """Wait until MLflow holds that many runs, with two points of each curve."""

    def there() -> bool:
        held = [
            run["metrics"].get("cost/bytes_up")
            for run in content(project).values()
            if "algorithm" in run["tags"]
        ]
        return len(held) == runs and all(p is not None and len(p) == 2 for p in held)

    wait_for(there)


def client(project: Path) -> MlflowClient:
    return MlflowClient(tracking_uri(project))


def runs(project: Path, experiment: str = "toy (synthetic demo)") -> dict[str, Run]:
    """By the name of the algorithm; there is one of each."""
    listed = search(project, experiment=experiment)
    named = {run.data.tags["algorithm"]: run for run in listed}
    assert len(named) == len(listed)
    return named


def search(
    project: Path,
    wanted: str = "tags.algorithm LIKE '%'",
    experiment: str = "toy (synthetic demo)",
) -> list[Run]:
    """Runs of trainings, or those that are wanted."""
    found = client(project).get_experiment_by_name(experiment)
    assert found is not None
    return client(project).search_runs([found.experiment_id], wanted)


def reports(project: Path) -> list[Run]:
    """Runs that hold what others have in common."""
    return search(project, "tags.runs LIKE '%'")


def steps(project: Path, run: Run, metric: str) -> list[int]:
    points = client(project).get_metric_history(run.info.run_id, metric)
    return sorted(point.step for point in points)


def files(project: Path, run: Run, folder: str = "") -> set[str]:
    listed = client(project).list_artifacts(run.info.run_id, folder)
    return {file.path for file in listed}


def content(project: Path) -> dict[str, dict[str, Any]]:
    """All that MLflow holds of runs, by their names, but for its own numbers."""
    found = {}
    for experiment in client(project).search_experiments():
        for run in client(project).search_runs([experiment.experiment_id]):
            name = f"{experiment.name}: {run.info.run_name} {run.data.tags['record']}"
            assert name not in found
            number = run.info.run_id
            there = client(project).list_artifacts(number)
            files = client(project).download_artifacts(number, "") if there else ""
            found[name] = {
                "note": experiment.tags.get("mlflow.note.content"),
                "status": run.info.status,
                "times": (run.info.start_time, run.info.end_time),
                "tags": run.data.tags,
                "parameters": run.data.params,
                "inputs": {
                    data.dataset.name: data.dataset.to_dictionary()
                    for data in run.inputs.dataset_inputs
                },
                "metrics": {
                    name: sorted(
                        (point.step, point.value, point.timestamp)
                        for point in client(project).get_metric_history(number, name)
                    )
                    for name in run.data.metrics
                },
                "files": {
                    str(path.relative_to(files)): path.read_bytes()
                    for path in (Path(files).rglob("*") if there else ())
                    if path.is_file()
                },
            }
    return found
