"""Flower's SuperNode, with two waits less.

`python -m fedmeta.runtime.federation.supernode` has the options of flower-supernode.
Flower 1.42 sleeps 3 s between two looks for a message, which no option shortens, and
starts an interpreter for each message, which imports Flower for 2 s. Here the sleep is
shorter, and these processes are forked from one that has imported everything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from types import SimpleNamespace

from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode

POLL_S = 0.5
PORT = 9094  # of flower-supernode


def main() -> None:
    """Start the executor of messages, and be a SuperNode."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--port", default=PORT)
    port = parser.parse_known_args()[0].port
    words = ["--insecure", "--runtime-api-address", f"127.0.0.1:{port}"]
    words += ["--parent-pid", str(os.getpid())]
    executor = [sys.executable, "-m", "fedmeta.runtime.federation.executor"]
    subprocess.Popen([*executor, *words])
    sys.argv += ["--isolation", "process"]
    start_client_internal.time = SimpleNamespace(  # type: ignore[attr-defined]
        sleep=lambda seconds: time.sleep(min(seconds, POLL_S))
    )
    flower_supernode()


if __name__ == "__main__":
    main()
