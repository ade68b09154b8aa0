"""Run every registered pipeline in seconds each: python tools/smoke.py [--update]

With --env smoke, one after the other in one process, since Kedro, torch and MLflow take
longer to start than such a run; then a sweep over two seeds, and `kedro reproduce` over
its runs. The first that fails ends it, with its error. At the end all CSV files are
compared with the golden ones of tests/golden; --update writes those instead.
"""

import sys
import tempfile
from functools import cache
from pathlib import Path
from time import monotonic

import golden
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta import pipeline_registry

ROOT = Path(__file__).resolve().parent.parent
GRID = {"femnist_fedmeta": "seed=0,1", "recommendation_fedmeta": "seed=0,1"}
HOMES = (
    "femnist",
    "recommendation",
    "femnist_nu_step_study_skewed",
    "femnist_nu_step_study_writers",
)
EXPERIMENTS = [f"{home} (synthetic smoke)" for home in HOMES]


def main() -> None:
    if unknown := set(sys.argv[1:]) - {"--update"}:
        sys.exit(f"unknown: {' '.join(sorted(unknown))}; expected --update or nothing")
    bootstrap_project(ROOT)
    # Every session asks for all graphs, which takes as long as a quarter of its run.
    registered = cache(pipeline_registry.register_pipelines)
    pipeline_registry.register_pipelines = registered
    for name in registered():
        start = monotonic()
        with KedroSession.create(ROOT, env="smoke") as session:
            session.run(pipeline_names=[name])
        _say(name, start)
    found = golden.results(ROOT / "data", "smoke", "p0.2_seed0")
    found |= swept_and_reproduced()
    if "--update" in sys.argv[1:]:
        golden.write(found)
        return
    if different := list(golden.differences(found, golden.read())):
        listed = "\n  ".join(different[:50])
        sys.exit(f"{len(different)} differences from tests/golden:\n  {listed}")


def swept_and_reproduced() -> dict[str, str]:
    """The files of `kedro reproduce` over a small sweep."""
    # Late: they need the bootstrapped project.
    from fedmeta.configuration import Source  # noqa: PLC0415
    from fedmeta.reproduction.report import reproduce  # noqa: PLC0415
    from fedmeta.sweep.grid import grid, parse_axis  # noqa: PLC0415
    from fedmeta.sweep.sweep import sweep  # noqa: PLC0415

    for pipeline, axis in GRID.items():
        start = monotonic()
        if not sweep(ROOT, pipeline, Source("smoke"), grid([parse_axis(axis)])):
            sys.exit(f"a cell of the sweep of {pipeline} failed")
        _say(f"sweep of {pipeline}", start)
    with tempfile.TemporaryDirectory() as output:
        start = monotonic()
        reproduce(ROOT, experiments=EXPERIMENTS, output=Path(output))
        _say("reproduce", start)
        return golden.folder(Path(output), "reproduction")


def _say(what: str, start: float) -> None:
    sys.stdout.write(f"--> {what}: {monotonic() - start:.0f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
