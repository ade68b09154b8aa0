"""`kedro run` as it is typed: errors in a line, Ctrl-C and on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from kedro.framework.cli.utils import find_run_command

from fedmeta.cli import cli, run

KEDRO = str(Path(sys.executable).with_name("kedro"))


def command(*words: str) -> list[str]:
    return [KEDRO, "run", "--env", "smoke", "--pipeline", "femnist_maml", *words]


def outcome(project: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        command(*words),
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(new_project):
    return new_project()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            "femnist.maml.iner_lr=1",
            "'femnist.maml.iner_lr': did you mean femnist.maml.inner_lr",
        ),
        (
            "femnist.training.clients_per_round=99",
            "clients_per_round is 99, but there are 16 training clients; lower it",
        ),
        ("support_fraction=1.5", "support_fraction"),
    ],
)
def test_an_error_is_told_in_a_line(project, params, message):
    code, text = outcome(project, "--params", params)
    assert code == 1
    assert "Traceback" not in text
    assert re.findall("^Error: .*", text, re.MULTILINE)[0].count(message) == 1


def given(text):
    """What `kedro run --params` makes of a text."""
    (option,) = (option for option in run.params if option.name == "params")
    return option.callback(click.Context(run), option, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=1,b.c=x", {"a": 1, "b": {"c": "x"}}),
        ("a=[4,8]", {"a": [4, 8]}),
        (
            "a=[4,8],b={x: 1, y: [2,3]},c='d,e'",
            {"a": [4, 8], "b": {"x": 1, "y": [2, 3]}, "c": "d,e"},
        ),
        ("a=[],b=null", {"a": [], "b": None}),
        # brackets and quotes within a value are its own
        ("a=/o'b/[x,b=1", {"a": "/o'b/[x", "b": 1}),
        ("a=x=y,,b=1", {"a": "x=y", "b": 1}),
    ],
)
def test_lists_can_be_given(text, expected):
    assert given(text) == expected


@pytest.mark.parametrize("text", ["a", "8]", "=1", "a=[4,8", "a=1,b={x", "a='x,b=1"])
def test_what_is_no_parameter_is_told_in_a_line(text):
    with pytest.raises(click.BadParameter, match="NAME=VALUE|left open") as told:
        given(text)
    assert "\n" not in told.value.format_message()


def test_the_packaged_project_runs_the_same_command():
    assert find_run_command("fedmeta") is run is cli.commands["run"]


def test_an_unknown_environment_is_told_in_a_line(project):
    code, text = outcome(project, "--env", "papr")
    assert code == 1
    assert "Traceback" not in text
    assert "conf/papr" in re.findall("^Error: .*", text, re.MULTILINE)[0]


def test_ctrl_c_and_on(project):
    params = "femnist.training.rounds=60,seed=5"
    with subprocess.Popen(
        command("--params", params),
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job would ignore the signal, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        for line in process.stdout:
            if "maml, round 4 of 60" in line:
                time.sleep(0.2)
                # Again, since Python drops the exception where a weakref's callback
                # of some library happens to run.
                for _ in range(5):
                    os.kill(process.pid, signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=20)
                        break
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "the same command goes on" in rest
    assert "Traceback" not in rest

    code, text = outcome(project, "--params", params)
    assert code == 0, text
    started = int(re.search(r"maml: goes on after round (\d+)", text)[1])
    assert 4 <= started < 60
    assert "maml, round 60 of 60" in text
