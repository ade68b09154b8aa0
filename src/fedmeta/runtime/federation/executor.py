"""Flower's SuperExec on a node, which forks the process for a message.

`flower-superexec` starts a new interpreter for each, which imports Flower for 2 s.
"""

import os
import signal
import sys

from flwr.supercore.cli.flower_superexec import flower_superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supernode.runtime.run_clientapp import run_clientapp

import fedmeta.runtime.federation.lasting
import fedmeta.runtime.federation.records  # noqa: F401  # both for the app
from fedmeta.runtime.federation.patience import ask_again_soon


def launch(_: SubprocessExecutor, spec: ExecutionSpec) -> LaunchResult:
    """Fork a process that answers one message."""
    if os.fork():
        return LaunchResult.accepted()
    status = 1
    try:
        run_clientapp(spec.runtime_api_address, spec.token, spec.insecure)
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Be Flower's SuperExec of a SuperNode."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    SubprocessExecutor.launch = launch  # type: ignore[method-assign]
    ask_again_soon()
    flower_superexec()


if __name__ == "__main__":
    main()
