"""What a federation on this machine leaves behind: nothing."""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("cryptography")  # Flower's

STARTED = """
import signal, sys, time
from pathlib import Path
from fedmeta.runtime.federation.local import Local, started

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored

Local.start_superlink = lambda self: self.start("sleep", ["sleep", "60"])
with started(Path(sys.argv[1]) / "local", Path(sys.argv[1]), {}) as local:
    print(local._running["sleep"].pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_processes_end_with_it_however_it_is_stopped(tmp_path, number):
    command = [sys.executable, "-c", STARTED, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as federation:
        begun = int(federation.stdout.readline())
        federation.send_signal(number)
        federation.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(begun, 0)
