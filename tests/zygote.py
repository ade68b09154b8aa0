"""Runs `kedro` in forks of a process that has imported everything: no 5 s of start-up.

A line of JSON on the standard input begins a command; one with its number comes back at
once, and one with its exit status at its end.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import sys
import threading
from functools import cache

MODULES = (
    "kedro.framework.cli",
    "kedro.framework.session",
    "fedmeta.pipeline_registry",
    "fedmeta.settings",
    "fedmeta.cli",
    "fedmeta.datasets",
    "fedmeta.sweep.sweep",
    "fedmeta.tracking.store",
    "mlflow.store.tracking.sqlalchemy_store",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "torch",
    "torch.fx.experimental.symbolic_shapes",  # by its first gradient, in a second
)
WRITES = ("replace", "fsync", "symlink", "mkdir", "unlink", "rmdir")


def serve() -> None:
    for name in MODULES:
        importlib.import_module(name)
    registry = sys.modules["fedmeta.pipeline_registry"]
    registry.register_pipelines = cache(registry.register_pipelines)
    registry.register_pipelines()
    gc.freeze()  # forks would look through all of it
    say("ready")
    assert threading.active_count() == 1  # a fork has no other threads
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            command(**order)
        say(child)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))


def say(thing: str | int) -> None:
    sys.stdout.write(f"{json.dumps(thing)}\n")
    sys.stdout.flush()


def command(
    words: list[str], folder: str, log: str, stop: tuple[int, int, bool] | None
) -> None:
    """`kedro` as it is typed.

    Args:
        words: that follow.
        folder: the project.
        log: a file for all that it says.
        stop: signal, at which write of files it comes, and whether after it.
    """
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    count_writes(*(stop or (0, 0, False)))
    from kedro.framework.cli import main  # noqa: PLC0415

    sys.argv = ["kedro", *words]
    main()
    sys.exit(0)


def count_writes(number: int, at: int, after: bool) -> None:
    """Send a signal at a call of the system that changes files; say how many are."""
    count = 0

    def watched(genuine):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            mine = count
            if mine == at and not after:
                os.kill(os.getpid(), number)
            try:
                return genuine(*args, **kwargs)
            finally:
                if mine == at and after:
                    os.kill(os.getpid(), number)

        return call

    atexit.register(lambda: say(f"{count} writes"))
    for name in WRITES:
        setattr(os, name, watched(getattr(os, name)))


if __name__ == "__main__":
    serve()
