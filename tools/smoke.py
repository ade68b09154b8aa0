"""Run every registered pipeline in seconds each: python tools/smoke.py [--update]

With --env smoke, the pipelines of a benchmark one after the other, two benchmarks at
a time, in processes that have loaded Kedro, torch and MLflow, since that takes longer
than such a run; then a sweep over two seeds, and `kedro reproduce` over its runs. The
first that fails ends it, with its error. At the end all CSV files are compared with the
golden ones of tests/golden; --update writes those instead.
"""

import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

import golden
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta import pipeline_registry
from fedmeta.configuration import Source
from fedmeta.reproduction.report import reproduce
from fedmeta.sweep.grid import grid, parse_axis
from fedmeta.sweep.sweep import sweep

ROOT = Path(__file__).resolve().parent.parent
GRID = {"femnist_fedmeta": "seed=0,1", "recommendation_fedmeta": "seed=0,1"}
HOMES = (
    "femnist",
    "recommendation",
    "femnist_nu_step_study_skewed",
    "femnist_nu_step_study_writers",
)
EXPERIMENTS = [f"{home} (synthetic smoke)" for home in HOMES]
PROCESSES = 2


def main() -> None:
    if unknown := set(sys.argv[1:]) - {"--update"}:
        sys.exit(f"unknown: {' '.join(sorted(unknown))}; expected --update or nothing")
    bootstrap_project(ROOT)
    # Every session asks for all graphs, which takes as long as a quarter of its run.
    registered = cache(pipeline_registry.register_pipelines)
    pipeline_registry.register_pipelines = registered
    # Those of a benchmark use one another's files. FEMNIST's, the most, come first.
    by_benchmark: dict[str, list[str]] = {}
    for name in registered():
        if name != "__default__":  # which has another name too
            by_benchmark.setdefault(name.partition("_")[0], []).append(name)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("fork")) as pool:
        try:
            for done in as_completed(
                [pool.submit(run, n) for n in by_benchmark.values()]
            ):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    found = golden.results(ROOT / "data", "smoke", "p0.2_seed0") | reproduced()
    if "--update" in sys.argv[1:]:
        golden.write(found)
        return
    if different := list(golden.differences(found, golden.read())):
        listed = "\n  ".join(different[:50])
        sys.exit(f"{len(different)} differences from tests/golden:\n  {listed}")


def run(names: list[str]) -> None:
    """Pipelines, one after the other, and the sweeps of those of `GRID`."""
    for name in names:
        start = monotonic()
        with KedroSession.create(ROOT, env="smoke") as session:
            session.run(pipeline_names=[name])
        _say(name, start)
    for name in GRID.keys() & names:
        start = monotonic()
        if not sweep(ROOT, name, Source("smoke"), grid([parse_axis(GRID[name])])):
            raise RuntimeError(f"a cell of the sweep of {name} failed")
        _say(f"sweep of {name}", start)


def reproduced() -> dict[str, str]:
    """The files of `kedro reproduce` over the sweeps."""
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
