"""`kedro` as it is typed, in forks of a process that has imported everything."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
KEDRO = str(Path(sys.executable).with_name("kedro"))


class Stop(NamedTuple):
    """When a command is stopped, and how."""

    number: int  # of the signal
    seconds: float | None = None  # after its start
    write: int | None = None  # or at which write of files
    after: bool = False  # that write
    imported: bool = True  # in a process that has imported everything

    def earlier(self) -> "Stop":
        """After half the time, or half the writes."""
        if self.write is not None:
            return self._replace(write=max(1, self.write // 2))
        return self._replace(seconds=self.seconds / 2)

    def __str__(self) -> str:
        when = (
            f"{'after' if self.after else 'before'} write {self.write}"
            if self.write is not None
            else f"after {self.seconds:.2f} s"
        )
        start = "" if self.imported else " of a new process"
        return f"{signal.Signals(self.number).name} {when}{start}"


class Zygote:
    """Forks of a process that has imported everything, one at a time."""

    def __init__(self) -> None:
        began = time.monotonic()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(
            [sys.executable, HERE / "zygote.py"], text=True, **pipes
        )
        self._read()
        self.seconds = time.monotonic() - began  # that importing takes

    def run(self, folder: Path, words: list[str], stop: Stop | None = None) -> int:
        """The exit code of `kedro` with these words, or less a signal's number."""
        log = folder / "log"
        if stop is not None and not stop.imported:
            return new_process(folder, words, log, stop)
        order: dict[str, Any] = {"words": words, "folder": str(folder), "log": str(log)}
        order["stop"] = (
            (stop.number, stop.write, stop.after)
            if stop is not None and stop.write is not None
            else None
        )
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        child = self._read()
        if stop is not None and stop.write is None:
            time.sleep(stop.seconds)
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.kill(child, stop.number)
        code = self._read()
        end = time.monotonic() + 10  # what tracks a pool's resources ends after it
        while lives(child):
            assert time.monotonic() < end
            time.sleep(0.05)
        return code

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Any:
        return json.loads(self._process.stdout.readline())


def new_process(folder: Path, words: list[str], log: Path, stop: Stop) -> int:
    with (
        log.open("a") as output,
        subprocess.Popen(
            [KEDRO, *words],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # A shell's background job would ignore Ctrl-C, and hand that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        ) as process,
    ):
        time.sleep(stop.seconds)
        process.send_signal(stop.number)
    assert not lives(process.pid)
    return process.returncode


def lives(session: int) -> bool:
    """Whether any process of a session that has lost its leader does."""
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True
