"""Run every registered pipeline in seconds each: python tools/smoke.py

With --env smoke, one after the other in one process, since Kedro, torch and MLflow take
longer to start than such a run. The first that fails ends it, with its error.
"""

import sys
from pathlib import Path
from time import monotonic

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.pipeline_registry import register_pipelines

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    bootstrap_project(ROOT)
    for name in register_pipelines():
        start = monotonic()
        with KedroSession.create(ROOT, env="smoke") as session:
            session.run(pipeline_names=[name])
        sys.stdout.write(f"--> {name}: {monotonic() - start:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
