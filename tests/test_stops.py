"""Signals that stop: each once, none lost, none where it was ignored."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf

from fedmeta.session import Session, Stopped, told_in_a_line
from fedmeta.stops import SIGNALS, Stop, stoppable

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def handlers():
    """As in a terminal: a shell may have started the tests to ignore Ctrl-C."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in set(SIGNALS) - {signal.SIGINT}:
        signal.signal(number, signal.SIG_DFL)
    ours = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == ours
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # a signal comes between two lines of Python


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_raised(number):
    with pytest.raises(KeyboardInterrupt) as stop, stoppable():
        send(number)
    assert stop.value.number == number
    assert str(stop.value) == signal.Signals(number).name


def test_nothing_interrupts_what_tidies_up():
    tidied = False
    with pytest.raises(Stop) as stop, stoppable():
        try:
            send(signal.SIGTERM)
        finally:
            with stoppable():  # as where a sweep runs a session
                send(signal.SIGTERM)
                send(signal.SIGINT)
            tidied = True
    assert tidied
    assert stop.value.number == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_later_signal_ends_it_at_once(number):
    code = f"""
import signal, time
from fedmeta import stops
stops.ONE_STOP_S = 0.01
with stops.stoppable():
    try:
        signal.raise_signal({int(number)})
    finally:
        time.sleep(0.1)
        signal.raise_signal({int(number)})
        print("still here")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-number, "")


class Thing:
    """Something that weak references can point to."""


@pytest.mark.parametrize("where", ["callback", "destructor"])
def test_no_stop_is_lost_where_python_ignores_exceptions(where):
    began = time.monotonic()
    with pytest.raises(Stop), stoppable():
        if where == "callback":
            thing = Thing()
            reference = weakref.ref(thing, lambda _: send(signal.SIGTERM))
            del thing
            assert reference() is None
        else:
            kind = type("Sends", (), {"__del__": lambda self: send(signal.SIGTERM)})
            kind()
            gc.collect()
        time.sleep(30)
    assert time.monotonic() - began < 20


def test_no_stop_is_lost_where_a_function_in_c_drops_it():
    """`int` of a string that is no number, asked until the signal comes in it."""

    def ask():
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            with contextlib.suppress(ValueError):
                for _ in range(1000):
                    int("x")

    for seconds in np.linspace(0.001, 0.01, 20):
        began = time.monotonic()
        timer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGTERM])
        with pytest.raises(Stop), stoppable():
            timer.start()
            ask()
        timer.join()
        assert time.monotonic() - began < 1


def test_no_stop_is_lost_while_configuration_is_read():
    """OmegaConf fails over what a stop has left half done, and hides the stop."""
    text = yaml.dump({f"block {n}": {"rate": 0.1, "sizes": [1, 2]} for n in range(100)})

    def read():
        while True:
            OmegaConf.create(text)

    for seconds in np.linspace(0.001, 0.05, 100):
        timer = threading.Timer(seconds, os.kill, [os.getpid(), signal.SIGTERM])
        with pytest.raises(Stop), stoppable():
            timer.start()
            read()
        timer.join()


def test_what_else_is_ignored_is_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with stoppable():
        kind = type("Fails", (), {"__del__": lambda self: 1 / 0})
        kind()
        gc.collect()
    assert [ignored.exc_type for ignored in told] == [ZeroDivisionError]


def test_an_ignored_signal_stays_ignored():
    """As with nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stoppable():
        send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_other_threads_leave_signals_alone():
    found = []

    def look():
        with stoppable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_says_what_is_kept(number):
    @click.command()
    def command():
        with told_in_a_line("All is as it was."):
            send(number)

    done = CliRunner().invoke(command)
    assert done.exit_code == 128 + number
    assert done.output == "\nStopped. All is as it was.\n"


class Member:
    """As of an enumeration, which classes are told of while a module is imported."""

    def __set_name__(self, owner, name):
        send(signal.SIGTERM)


def wraps():
    type("Owner", (), {"member": Member()})


def tidies():
    try:
        send(signal.SIGTERM)
    finally:
        raise KeyError("half done")


def hides():
    try:
        tidies()
    except KeyError as error:
        error.__context__ = None
        raise


@pytest.mark.parametrize("fails", [wraps, tidies, hides])
def test_an_error_that_came_of_a_stop_is_one(fails):
    @click.command()
    def command():
        with told_in_a_line("All is as it was."):
            fails()

    done = CliRunner().invoke(command)
    assert done.exit_code == 128 + signal.SIGTERM
    assert done.output == "\nStopped. All is as it was.\n"


def test_hooks_and_callers_of_a_session_see_it_too(monkeypatch, tmp_path):
    class Hook:
        told = 0

        def on_interrupt(self):
            self.told += 1

    bootstrap_project(ROOT)
    monkeypatch.setattr(KedroSession, "run", lambda self: wraps())
    session, hook = Session.create(ROOT), Hook()
    session._project_path = tmp_path
    session._hook_manager.register(hook)

    @click.command()
    def command():
        with session:
            session.run()

    done = CliRunner().invoke(command)
    assert hook.told == 1
    assert done.exit_code == 128 + signal.SIGTERM
    assert done.output.startswith("\nStopped. Evaluated rounds are kept;")
    assert "__set_name__" in (tmp_path / "error.log").read_text()


def test_a_terminal_that_is_gone_is_no_other_error(monkeypatch):
    def gone(*args, **kwargs):
        raise OSError("Input/output error")

    monkeypatch.setattr(click, "echo", gone)
    Stopped(Stop(signal.SIGHUP), "").show()
