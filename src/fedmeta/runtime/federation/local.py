"""A federation on this machine: a SuperLink and nodes on 127.0.0.1, with TLS and keys.

Every process that is started here is ended here, with all that it has started.
"""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from fedmeta.runtime.federation.keys import write_certificate, write_node_key
from fedmeta.runtime.federation.lasting import ADDRESS, HOST
from fedmeta.stops import stoppable

log = logging.getLogger(__name__)

APP = Path(__file__).parents[4] / "federation"  # the Flower app
COMPLETED = "finished:completed"  # a run's status
CONNECTION = "local"  # its name in Flower's configuration
MARK = "FEDMETA_FEDERATION"  # in the environment of all that is started
START_S = 60.0  # for a process to be ready
END_S = 5.0  # for processes to end by themselves
POLL_S = "0.2"  # how often Flower looks for a message to start a process for
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": POLL_S,
}


class Local:
    """The processes of a federation, in a folder with their logs.

    Args:
        folder: of keys, logs and the SuperLink's database.
        project: of the pipelines that the server runs.
        python: of the environment that Flower is in; None: this one.
    """

    def __init__(self, folder: Path, project: Path, python: Path | None) -> None:
        self.folder, self.port = folder, free_port()
        self.python = python or Path(sys.executable)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        write_certificate(folder)
        home = folder / "flwr"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(
            f"[superlink.{CONNECTION}]\n"
            f'address = "{HOST}:{self.port}"\n'
            f'root-certificates = "{folder / "server.crt"}"\n'
        )
        path = [str(self.python.parent), os.environ.get("PATH", "")]
        self.environment = {
            **os.environ,
            **QUIET,
            "PATH": os.pathsep.join(path),
            "FLWR_HOME": str(home),
            "FEDMETA_PROJECT": str(project),
            MARK: str(folder),
        }

    def start_superlink(self) -> None:
        """Start the server, and wait until it listens.

        Raises:
            RuntimeError: where it ends, or does not listen in time.
        """
        self.start(
            "superlink",
            ["flower-superlink", "--host", HOST, "--port", self.port],
            ["--ssl-ca-certfile", self.folder / "server.crt"],
            ["--ssl-certfile", self.folder / "server.crt"],
            ["--ssl-keyfile", self.folder / "server.key"],
            ["--enable-supernode-auth", "--disable-runtime-dependency-installation"],
            ["--database", self.folder / "superlink.db"],
        )
        self._until("superlink", lambda: _listens(self.port))

    def start_nodes(self, nodes: Mapping[str, Path]) -> None:
        """Register nodes, start their lasting processes and SuperNodes.

        Args:
            nodes: folders of packed records by the names of nodes.
        """
        for name, folder in nodes.items():
            self.start_lasting(name, folder)
            write_node_key(self.folder / f"{name}.key")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.register, nodes))
        for name, folder in nodes.items():
            self.start_supernode(name, folder)
        for name, folder in nodes.items():
            self._until(f"{name}.lasting", (folder / ADDRESS).exists)

    def register(self, name: str) -> None:
        """Tell the SuperLink a node's public key."""
        key = self.folder / f"{name}.key.pub"
        self.flwr("supernode", "register", str(key), CONNECTION)

    def start_lasting(self, name: str, folder: Path) -> None:
        """Start the process that holds a node's data."""
        (folder / ADDRESS).unlink(missing_ok=True)
        module = ["-m", "fedmeta.runtime.federation.lasting", folder]
        self.start(f"{name}.lasting", [self.python, *module, "--rows"])

    def start_supernode(self, name: str, folder: Path) -> None:
        """Start the process that Flower has on a node."""
        self.start(
            f"{name}.supernode",
            [self.python, "-m", "fedmeta.runtime.federation.supernode"],
            ["--superlink", f"{HOST}:{self.port}"],
            ["--root-certificates", self.folder / "server.crt"],
            ["--auth-supernode-private-key", self.folder / f"{name}.key"],
            ["--node-config", f'folder="{folder}"', "--port", free_port()],
        )

    def run(self, config: Mapping[str, Any]) -> bool:
        """Run the app, showing its log; return whether it completed.

        Raises:
            RuntimeError: where the server does not answer.
        """
        words = [f"{key}={json.dumps(value)}" for key, value in config.items()]
        command = ["flwr", "run", str(APP), CONNECTION, "--stream"]
        command += ["--run-config", " ".join(words)]
        with (
            self.log_of("run").open("a") as file,
            subprocess.Popen(
                command, env=self.environment, stdout=subprocess.PIPE, text=True
            ) as process,
        ):
            for line in process.stdout or ():
                for place in (sys.stdout, file):
                    place.write(line)
                    place.flush()
        told = json.loads(self.flwr("ls", CONNECTION, "--format", "json"))
        if not told["success"]:
            raise RuntimeError(f"Flower's server does not answer: {told}")
        return told["runs"][0]["status"] == COMPLETED  # of the newest

    def flwr(self, *words: str) -> str:
        """The output of a command of Flower's.

        Raises:
            RuntimeError: where it fails.
        """
        done = subprocess.run(
            ["flwr", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"flwr {' '.join(words)}: {done.stdout} {done.stderr}")
        return done.stdout

    def start(self, name: str, *words: Sequence[Any]) -> None:
        """Start a process, in a group of its own, that logs to a file."""
        command = [str(word) for part in words for word in part]
        with self.log_of(name).open("ab") as file:
            self._running[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log_of(self, name: str) -> Path:
        """The log file of a process."""
        return self.folder / "logs" / f"{name}.log"

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a process and all that it has started."""
        process = self._running.pop(name)
        _signal_group(process, how)
        deadline = time.monotonic() + END_S
        while _signal_group(process, 0) and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.05)
        _signal_group(process, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End every process: those of nodes first."""
        names = [*self._running][::-1]
        for name in names:
            _signal_group(self._running[name], signal.SIGTERM)
        for name in names:
            self.end(name)
        self.kill("")

    def kill(self, command: str) -> None:
        """Kill all processes of the federation whose command has some text.

        Also those that left the groups of their parents, as Flower's ServerApp does.
        """
        mark = f"{MARK}={self.folder}\0".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ours = mark in (place / "environ").read_bytes()
                if ours and command.encode() in (place / "cmdline").read_bytes():
                    os.kill(int(place.name), signal.SIGKILL)

    def _until(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START_S
        while not ready():
            ended = self._running[name].poll() is not None
            if ended or time.monotonic() > end:
                last = self.log_of(name).read_text().strip()[-500:]
                raise RuntimeError(f"{name} did not start: {last}")
            time.sleep(0.05)


@contextmanager
def started(
    folder: Path, project: Path, nodes: Mapping[str, Path], python: Path | None = None
) -> Iterator[Local]:
    """A federation; it ends with the block, however that ends, by signals too.

    Args:
        folder: of keys and logs; one of before is removed.
        project: of the pipelines that the server runs.
        nodes: folders of packed records by the names of nodes.
        python: of the environment that Flower is in; None: this one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    local = Local(folder, project, python)
    with stoppable(), closing(local):
        local.start_superlink()
        local.start_nodes(nodes)
        yield local


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _signal_group(process: subprocess.Popen[bytes], how: int) -> bool:
    """Signal a process and all of its group, if there is any: 0 only asks that."""
    try:
        os.killpg(process.pid, how)
    except ProcessLookupError:
        return False
    return True
