"""Web servers of a finished run: started, asked, ended with all their children."""

import functools
import http.server
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
START_S = 180  # a server's start; 8 s on a quiet machine
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("KEDRO_", "MLFLOW_"))},
    "DO_NOT_TRACK": "true",
    "OMP_NUM_THREADS": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def fetch(url: str, payload: dict | None = None) -> Any:
    """JSON of an address; POST where there is a payload."""
    body = None if payload is None else json.dumps(payload).encode()
    request = urllib.request.Request(
        url, body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


class Files(http.server.SimpleHTTPRequestHandler):
    """Any host's server: it knows files alone."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def files(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine alone."""
    handler = functools.partial(Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{host.server_port}/"
        host.shutdown()


@contextmanager
def server(project: Path, command: str) -> Iterator[str]:
    """Start a web server on a free port of this machine alone; end all of it."""
    name, *arguments = command.split()
    port = free_port()
    log = project / f"{name}_server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [BIN / name, *arguments, "--host", "127.0.0.1", "--port", str(port)],
            cwd=project,
            env=ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group: Kedro-Viz leaves a child otherwise
        )
    try:
        address = f"http://127.0.0.1:{port}"
        await_answer(address, process, log)
        yield address
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_answer(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"no answer from {address}\n{log.read_text()[-3000:]}")


def free_port() -> int:
    """Not one that the system hands out: Kedro-Viz takes none above 49151."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
