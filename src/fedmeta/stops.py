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
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)

# Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)
# `timeout`, a terminal or a batch system signals a whole group of processes, and then
# each again through its parent: that is one stop. A later one is somebody's impatience.
ONE_STOP_S = 2.0
LOOKED_FOR_EVERY_S = 0.1


class Stop(KeyboardInterrupt):
    """A signal has asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def stop_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The stop that an error is, or came of.

    Python wraps what is raised in `__set_name__`, so while a module with enumerations
    is imported, and what tidies up may fail over what a stop has left half done. Some
    libraries cut the chain of causes (OmegaConf does): inside `stoppable`, whatever is
    raised after a stop came of it.
    """
    found = in_chain(error, KeyboardInterrupt)
    if found is None and error is not None:
        handlers = map(signal.getsignal, SIGNALS)
        return next((h.stop for h in handlers if isinstance(h, _Handler)), None)
    return found


def in_chain(error: BaseException | None, kind: type[E]) -> E | None:
    """The first error of a kind among an error and what it came of."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def stoppable() -> Iterator[None]:
    """Let each of `SIGNALS` raise `Stop` in the main thread, once.

    A further signal within two seconds is ignored, so that nothing is interrupted while
    it tidies up. A later one ends the process at once, as SIGKILL would.

    A signal that was ignored before stays ignored (``nohup``, a shell's background
    job). Outside the main thread, and inside another `stoppable`, this does nothing.

    Raises:
        Stop: after a signal, for whatever else was raised because of it too.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or any(isinstance(signal.getsignal(s), _Handler) for s in SIGNALS):
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = [n for n, h in before.items() if h not in (signal.SIG_IGN, None)]
    handler, hook = _Handler(sys.unraisablehook), sys.unraisablehook
    try:
        sys.unraisablehook = handler.unraisable
        for number in ours:
            signal.signal(number, handler)
        yield
    except Exception as error:
        stop = in_chain(error, KeyboardInterrupt) or handler.stop
        if stop is None:
            raise
        raise Stop(getattr(stop, "number", signal.SIGINT)) from error
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
        self._alarm: Any = None  # the handler before, of the signal that looks again
        self.stop: Stop | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came is None:
            self._came, self.stop = now, Stop(number)
            if hasattr(signal, "setitimer"):  # Windows has none
                self._alarm = signal.signal(signal.SIGALRM, self._look)
                every = LOOKED_FOR_EVERY_S
                signal.setitimer(signal.ITIMER_REAL, every, every)
            raise self.stop
        if now - self._came > ONE_STOP_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _look(self, number: int, frame: FrameType | None) -> None:
        """Raise the stop again if it is lost.

        Python drops what is raised in a destructor or a weak reference's callback, and
        so do some functions in C (`int` of a string that is no number). While the stop
        is on its way out, whatever runs does so because of it.
        """
        if self.stop is not None and not in_chain(sys.exc_info()[1], KeyboardInterrupt):
            raise Stop(self.stop.number)

    def unraisable(self, unraisable: Any) -> None:
        """Tell of what Python drops, but for a stop, which is raised again."""
        if not isinstance(unraisable.exc_value, Stop):
            self._hook(unraisable)

    def close(self) -> None:
        """Stop raising."""
        if self._alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._alarm)


def stop_main_thread() -> None:
    """SIGTERM to this process, from a thread of it; wakes the main one if it waits."""
    main = threading.main_thread().ident
    if main is not None:  # of a thread that has not begun
        signal.pthread_kill(main, signal.SIGTERM)


def stop_thread(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread that no signal reaches, by its identifier.

    It is raised at the thread's next step in Python, as signals are in the main one.
    """
    stop = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), stop)
