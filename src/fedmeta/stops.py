"""Signals that stop a command: SIGTERM and SIGHUP do what Ctrl-C does.

Schedulers, containers and closing terminals end a process by a signal of which Python
by itself dies on the spot. Here each raises `Stop`, a KeyboardInterrupt, so that
whatever tidies up after Ctrl-C does so after the others.
"""

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)
# `timeout`, a terminal or a batch system signals a whole group of processes, and then
# each again through its parent: that is one stop. A later one is somebody's impatience.
ONE_STOP_S = 2.0
RAISED_AGAIN_S = 0.05


class Stop(KeyboardInterrupt):
    """A signal has asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def stop_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The stop that an error is, or came of.

    Python wraps what is raised in `__set_name__`, so while a module with enumerations
    is imported, and what tidies up may fail over what a stop has left half done.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def stoppable() -> Iterator[None]:
    """Let each of `SIGNALS` raise `Stop` in the main thread, once.

    A further signal within two seconds is ignored, so that nothing is interrupted while
    it tidies up. A later one ends the process at once, as SIGKILL would.

    A signal that was ignored before stays ignored (``nohup``, a shell's background
    job). Outside the main thread, and inside another `stoppable`, this does nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or any(isinstance(signal.getsignal(s), _Handler) for s in SIGNALS):
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [n for n, h in before.items() if h not in (signal.SIG_IGN, None)]
    handler, hook = _Handler(sys.unraisablehook), sys.unraisablehook
    try:
        sys.unraisablehook = handler.dropped
        for number in ours:
            signal.signal(number, handler)
        yield
    finally:
        handler.close()
        for number in ours:
            signal.signal(number, before[number])
        sys.unraisablehook = hook


class _Handler:
    """Handler of all signals: only the first of them raises `Stop`."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook
        self._came: float | None = None  # when the first one did
        self._again: threading.Thread | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came is None:
            self._came = now
            raise Stop(number)
        if now - self._came > ONE_STOP_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def dropped(self, unraisable: Any) -> None:
        """Called with what is raised in destructors and weak references' callbacks.

        Python continues there. A stop that comes in the middle of one must not be lost:
        it is raised again a little later.
        """
        if not issubclass(unraisable.exc_type, Stop):
            self._hook(unraisable)
            return
        self._came = None
        number = unraisable.exc_value.number
        if self._again is None or not self._again.is_alive():
            self._again = threading.Thread(target=self._raise_again, args=[number])
            self._again.start()

    def _raise_again(self, number: int) -> None:
        # Until it takes effect: Python looks for signals before a call that waits, and
        # one that comes just then is not seen until the call returns.
        while True:
            time.sleep(RAISED_AGAIN_S)
            if self._came is not None:
                return
            stop_main_thread(number)

    def close(self) -> None:
        """Stop raising."""
        self._came = time.monotonic()
        if self._again is not None:
            self._again.join()


def stop_main_thread(number: int = signal.SIGTERM) -> None:
    """Signal this process, called from a thread; wakes the main one if it waits."""
    main = threading.main_thread().ident
    if main is not None:  # of a thread that has not begun
        signal.pthread_kill(main, number)


def stop_thread(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread that no signal reaches, by its identifier.

    It is raised at the thread's next step in Python, as signals are in the main one.
    """
    stop = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), stop)
