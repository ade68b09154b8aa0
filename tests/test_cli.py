"""`kedro run` as it is typed: errors in a line, Ctrl-C and on."""

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project
from zygotes import Zygote

from fedmeta.cli import cli, run
from fedmeta.session import refuse_unknown, registered

KEDRO = str(Path(sys.executable).with_name("kedro"))
WORDS = ("run", "--env", "smoke", "--pipeline", "femnist_maml")


@pytest.fixture(scope="module")
def project(new_project):
    return new_project()


@pytest.fixture(scope="module")
def outcome(project):
    """Types a run in the project; returns its exit code, and all that it says."""
    zygote, log = Zygote(), project / "log"

    def run(*words: str) -> tuple[int, str]:
        log.unlink(missing_ok=True)
        return zygote.run(project, [*WORDS, *words]), log.read_text()

    yield run
    zygote.close()


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
        (
            "support_fraction=1.5,femnist.training.rounds=0",
            "Error: femnist.partition: option 'support_fraction': expected less than 1"
            " (given: 1.5); femnist.training: option 'rounds': expected more than 0",
        ),
    ],
)
def test_an_error_is_told_in_a_line(outcome, params, message):
    code, text = outcome("--params", params)
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


def test_the_help_says_how_parameters_are_given():
    """Kedro's own also has name:value, which is refused here."""
    told = " ".join(CliRunner().invoke(run, ["--help"]).output.split())
    (text,) = re.findall(r"--params TEXT (.*?) --", told)
    assert "colon" not in text
    (example,) = re.findall(r"such as (\S+)\.", text)
    assert given(example) == {"seed": 1, "femnist": {"maml": {"inner_lr": 0.01}}}


def test_a_list_may_stand_in_a_file(tmp_path):
    file = tmp_path / "run.yml"
    file.write_text(
        "run:\n  pipelines: femnist_maml\n"
        "  params: {femnist: {model: {channels: [4, 8]}}}\n"
    )
    context = run.make_context("run", ["--config", str(file)])
    assert context.params["pipelines"] == ["femnist_maml"]
    assert context.params["params"] == {"femnist": {"model": {"channels": [4, 8]}}}
    with pytest.raises(click.BadParameter, match=r"'8': .*a list .* file for --config"):
        given("femnist.model.channels=4,8")


def test_the_packaged_project_runs_the_same_command():
    assert find_run_command("fedmeta") is run is cli.commands["run"]


@pytest.mark.parametrize("option", ["--pipeline", "--pipelines"])
def test_an_unknown_pipeline_is_told_in_one_line_with_its_like(project, option):
    done = subprocess.run(
        [KEDRO, "run", option, "femnist_mamml"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 1
    assert said[0].startswith(
        "Error: no pipeline 'femnist_mamml'; did you mean femnist"
    )
    assert said[1:] == [f"(details: {project / 'error.log'})"]


def test_an_unknown_environment_is_told_with_those_that_there_are(project, outcome):
    code, text = outcome("--env", "papr")
    assert code == 1
    assert "Traceback" not in text
    (said,) = re.findall("^Error: .*", text, re.MULTILINE)
    there = sorted(p.name for p in (project / "conf").iterdir() if p.is_dir())
    assert {"base", "paper", "smoke", "tuned"} <= {*there}
    told = f"no environment 'papr': {project}/conf has {', '.join(there)} (--env)"
    assert told in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--load-versions", "femnist"], "load_versions"),
        (["--async", "--runner-params", "is_async=False"], "cannot be used together"),
        (["--pipeline", "a", "--pipelines", "b"], "cannot be used together"),
        (["--runner", "ThreadRuner"], "is it ThreadRunner?). expected one of Parallel"),
    ],
)
def test_errors_of_kedros_own_options_are_told(words, told):
    """Kedro's own say nothing but "NoneType: None"."""
    done = CliRunner().invoke(run, words)
    assert done.exit_code == 2
    (said,) = re.findall("^Error: .*", done.output, re.MULTILINE)
    assert re.search(told.replace("?)", r"\?\)"), said), said


@pytest.mark.parametrize(
    ("option", "name", "told"),
    [
        (
            "node_names",
            "train_femnst",
            r"no node .*--nodes\); did you mean .*train_fem",
        ),
        ("from_nodes", "pak_femnist", r"no node .*--from-nodes\).*ingestion.pack_fem"),
        ("to_outputs", "femnist.maml.score", r"dataset .*--to-outputs.*maml.scores"),
        ("to_outputs", "table.report.page", r"--to-outputs\); add .* table_fedmeta$"),
        ("to_nodes", "fomaml.train_femnist", r"--to-nodes\); add .* femnist_fedmeta$"),
        ("tags", "mmal", r"no tag 'mmal' .*--tags\); did you mean maml\?"),
    ],
)
def test_names_that_a_pipeline_does_not_have_are_told_with_their_like(
    option, name, told
):
    configure_project("fedmeta")
    with pytest.raises(ValueError, match=told):
        refuse_unknown(registered("femnist_maml"), {option: [name]})


def heeding_signals() -> None:
    """In a new process: a shell's background job would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop(project: Path, number: int, at: str, *words: str) -> tuple[int, str]:
    """Exit code, and what was said after the signal: sent when a line has ``at``."""
    with subprocess.Popen(
        [KEDRO, *WORDS, *words],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heeding_signals,  # noqa: PLW1509
    ) as process:
        for line in process.stdout:
            if at in line:
                time.sleep(0.2)
                process.send_signal(number)
                break
        rest = process.stdout.read()
    return process.returncode, rest


def statuses(project: Path) -> set[str]:
    """Of the runs in MLflow."""
    with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as store:
        return {status for (status,) in store.execute("SELECT status FROM runs")}


@pytest.mark.slow
def test_stopped_and_on(project, outcome):
    words = ("--params", "femnist.training.rounds=90,seed=5")
    code, rest = stop(project, signal.SIGTERM, "maml, round 4 of 90", *words)
    assert code == 143, rest
    assert "Stopped. Evaluated rounds are kept; the same command resumes" in rest
    assert "Traceback" not in rest
    assert statuses(project) == {"KILLED"}
    assert not list(project.rglob("*.partial"))

    code, rest = stop(project, signal.SIGKILL, "maml, round", *words)
    assert code == -signal.SIGKILL, rest

    code, text = outcome(*words)
    assert code == 0, text
    started = int(re.search(r"maml: resuming after round (\d+)", text)[1])
    assert 4 <= started < 90
    assert "maml, round 90 of 90" in text
    assert statuses(project) == {"FINISHED"}
