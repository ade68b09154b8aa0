"""Flower's SuperNode, with three waits less and one more.

`python -m fedmeta.runtime.federation.supernode` has the options of flower-supernode.
Flower 1.42 sleeps 3 s between two looks for a message, which no option shortens, and
starts an interpreter for each message, which imports Flower for 2 s. Here the sleep is
shorter, these processes are forked from one that has imported everything, and arrays
that are late are asked for again sooner. A SuperNode that was killed counts as there
for a minute, in which Flower refuses the next with the same key, and that ends: here it
waits.
"""

import argparse
import logging
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import httpx
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, HEARTBEAT_PATIENCE
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient

from fedmeta.runtime.federation.patience import ask_again_soon

log = logging.getLogger("flwr")

POLL_S = 0.5
COUNTED_S = HEARTBEAT_PATIENCE * HEARTBEAT_DEFAULT_INTERVAL  # as there, after its end
START_S = 5.0  # between two tries to be taken on
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
    FleetHttpClient.ActivateNode = _taken_on  # type: ignore[method-assign]
    ask_again_soon()
    flower_supernode()


def _taken_on(
    client: FleetHttpClient, request: Any, activate: Any = FleetHttpClient.ActivateNode
) -> Any:
    """Ask to be taken on until the server has noticed that a former one has ended."""
    end = time.monotonic() + COUNTED_S + START_S
    while True:
        try:
            return activate(client, request)
        except httpx.HTTPStatusError as error:
            told = FlowerError.from_json(error.response.text)
            failed = told and told.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED
            if not failed or time.monotonic() > end:
                raise
        log.info("this node counts as there, for a minute at most: waiting")
        time.sleep(START_S)


if __name__ == "__main__":
    main()
