"""How far a run is: estimates of what was measured, and one display that goes away."""

import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from fedmeta import display, estimates, identity
from fedmeta.display import DISPLAY, SECONDS, LogFile, ShowProgress
from fedmeta.estimates import Left
from fedmeta.pipelines import progress
from fedmeta.pipelines.progress import LISTENERS, NODE, UNDER_WAY, Clock, lasts

ROUNDS = {"maml": 10, "fomaml": 20}


@lasts("training", "rounds")
def train(training: dict) -> int:
    return training["rounds"]


def evaluate(trained: int) -> int:
    return trained


PIPELINE = Pipeline(
    [
        node
        for name in ROUNDS
        for node in (
            Node(
                train,
                {"training": f"params:toy.{name}"},
                f"toy.{name}.history",
                name=f"train_{name}",
            ),
            Node(
                evaluate,
                f"toy.{name}.history",
                f"toy.{name}.scores",
                name=f"evaluate_{name}",
            ),
        )
    ]
)


class Watch:
    """A clock that goes on only when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(progress, "time", watch)
    monkeypatch.setattr(estimates, "time", watch)
    return watch


class Run:
    """What Kedro tells the hook of a run."""

    def __init__(self, project: Path) -> None:
        loader = Loader(
            parameters={"toy": {n: {"rounds": r, "lr": 1} for n, r in ROUNDS.items()}},
            globals={"store": "demo"},
        )
        self.results = project / "data" / "07_model_output" / "demo" / "toy"
        self.hook = ShowProgress()
        self.hook.after_context_created(
            SimpleNamespace(project_path=project, config_loader=loader)
        )
        self.catalog = DataCatalog({})
        for name in ROUNDS:
            file = self.results / "p0.2_seed0" / f"{name}_history.csv"
            self.catalog[f"toy.{name}.history"] = dataset = MemoryDataset()
            dataset._filepath = file

    def begin(self) -> None:
        self.hook.before_pipeline_run(
            {"pipeline_names": ["toy"]}, PIPELINE, self.catalog
        )

    def node(self, name: str) -> None:
        self.hook.before_node_run(next(n for n in PIPELINE.nodes if n.name == name))

    def left(self) -> Left:
        return self.hook._plan.left()


class Loader(dict):
    runtime_params: dict[str, Any] = {}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    NODE.set("")
    yield run
    run.hook.on_interrupt()


def rounds(watch: Watch, clock: Clock, seconds: float, until: int) -> Iterator[int]:
    def work() -> Iterator[int]:
        for number in range(1, until + 1):
            watch.now += seconds
            yield number

    for number in clock.timed(work(), first=0):
        clock.tick(number, loss=1.0)
        yield number


def test_the_rest_is_told_as_soon_as_two_rounds_are_measured(
    run: Run, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run.begin()
    assert run.left().seconds is None  # nothing is made up
    run.node("train_maml")
    going = rounds(watch, Clock("maml", 10), 10.0, 10)
    next(going)
    assert not caplog.records
    next(going)
    assert run.left() == Left(8 * 10 + 20 * 10, assumed=1, unknown=2)
    (line,) = [r.getMessage() for r in caplog.records if "toy" in r.getMessage()]
    assert line.startswith("toy: about 5 min to go (1 training at the pace of those")
    assert "not counting 2 stages that have not been timed yet" in line
    assert len([*going]) == 8
    assert run.left() == Left(200, assumed=1, unknown=2)

    run.node("evaluate_maml")
    watch.now += 30
    run.node("train_fomaml")
    for number in rounds(watch, Clock("fomaml", 20), 1.0, 20):
        if number == 5:
            assert run.left() == Left(15, assumed=0, unknown=1)
    run.node("evaluate_fomaml")
    watch.now += 40
    run.hook.after_pipeline_run()
    known = json.loads((run.hook._home / SECONDS).read_text())
    assert known == {"evaluate_maml": 30, "evaluate_fomaml": 40}
    assert not LISTENERS


def measured(run: Run, name: str, folder: str, seconds: float, **changed: Any) -> None:
    held = {"training.rounds": 10, "training.lr": 1, "data.records": "x"}
    file = run.results / folder / f"{name}_history.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    timing = [
        {"round": 0, "training": 0.0, "evaluation": 2.0},
        {"round": 10, "training": 9 * seconds, "evaluation": 2.0 + seconds},
    ]
    environment = {**identity.environment(), **changed.pop("environment", {})}
    held |= {"timing": timing, "settings": {**held, **changed}}
    file.write_text(json.dumps({**held, "environment": environment}))


def test_what_earlier_runs_took_is_told_before_the_first_round(
    run: Run, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run.hook._home.mkdir(parents=True)
    stages = {"evaluate_maml": 5.0, "evaluate_fomaml": 7.0}
    (run.hook._home / SECONDS).write_text(json.dumps(stages))
    measured(run, "maml", "p0.2_seed0", 10)
    measured(run, "fomaml", "p0.5_seed3", 20)  # another seed takes as long
    run.begin()
    assert run.left().seconds == 10 * 10 + 20 * 20 + 5 + 7
    assert "toy: about 9 min to go; trainings left: 2, or" in caplog.text
    run.node("train_maml")  # finished before: taken over
    run.node("evaluate_maml")
    watch.now += 4
    assert run.left().seconds == 20 * 20 + 1 + 7


@pytest.mark.parametrize(
    "changed",
    [{"training.lr": 2}, {"environment": {"processor": "another"}}],
    ids=["options", "machine"],
)
def test_what_was_measured_otherwise_says_nothing(
    run: Run, changed: dict[str, Any]
) -> None:
    for name in ROUNDS:
        measured(run, name, "p0.2_seed0", 10, **changed)
    run.begin()
    assert run.left().seconds is None


def test_damaged_measurements_and_full_disks_stop_no_run(
    run: Run, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.hook._home.mkdir(parents=True)
    (run.hook._home / SECONDS).write_text("[1")
    for name in ROUNDS:
        measured(run, name, "p0.2_seed0", 10)
        (run.results / "p0.2_seed0" / f"{name}_history.json").write_text("{")
    run.begin()
    assert run.left().seconds is None

    def full(path: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(estimates, "whole_path", full)
    run.node("evaluate_maml")
    run.hook.after_pipeline_run()


def test_a_log_file_that_cannot_be_written_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "said \ud800", None, None)
    LogFile(tmp_path / "none" / "run.log").emit(record)
    assert not capsys.readouterr().err
    path = tmp_path / "run.log"
    path.write_text("x" * (display.LOG_BYTES + 1))
    handler = LogFile(path)
    handler.emit(record)
    handler.close()
    assert path.read_text().endswith("INFO    said \\ud800\n")
    assert (tmp_path / "run.log.1").exists()


# A training in a terminal, with what is logged and printed meanwhile.
TRAINING = """
import logging, os, sys, time
from fedmeta import display
from pathlib import Path
from fedmeta.display import ShowProgress, told
from fedmeta.estimates import Stages, Stage
from fedmeta.pipelines import progress
from fedmeta.pipelines.progress import Clock
from fedmeta.stops import stoppable
logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
hook = ShowProgress()
hook._plan = Stages("toy", {"train": Stage(rounds=50), "other": Stage(rounds=50)})
progress.LISTENERS.append(hook._heard)
progress.NODE.set("train")
progress.EVERY_S = 0
def work():
    for number in range(1, 51):
        time.sleep(float(os.environ.get("ROUND_S", "0.05")))
        yield number
with stoppable(), told(Path()):
    clocks = [Clock("maml", 50), Clock("fomaml", 50)]  # two at once: one display
    both = zip(*(clock.timed(work(), 0) for clock in clocks))
    for number, _ in both:
        for clock in clocks:
            clock.tick(number, 1.5)
        if number == 20:
            clocks[0].validated(number, 10, 71.2)
            logging.warning("something happened")
print("the end")
"""


TERMINAL = {
    "TERM": "xterm",
    "COLUMNS": "100",
    "KEDRO_LOGGING_CONFIG": str(Path(__file__).parents[1] / "conf" / "logging.yml"),
}


def in_a_terminal(folder: Path, stop_at: str = "", **environment: str) -> str:
    """What a terminal gets to see of the training."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING],
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
        cwd=folder,
        env={**os.environ, **TERMINAL, **environment},
        start_new_session=True,
        # A shell's background job would ignore Ctrl-C, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            new = os.read(ours, 4096)
        except OSError:  # it has ended
            break
        seen += new
        if not new:
            break
        if stop_at and stop_at.encode() in seen:
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            stop_at = ""
    process.wait(60)
    os.close(ours)
    return seen.decode()


HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"  # the cursor
ERASED = "\x1b[1A\x1b[2K"  # a line


def test_a_terminal_shows_one_display_and_is_clean_afterwards(tmp_path: Path) -> None:
    seen = in_a_terminal(tmp_path)
    assert seen.count(HIDDEN) == seen.count(SHOWN) == 1
    assert re.search("fomaml .*round [1-9][0-9]?/50.*loss 1.500.*to go", seen)
    assert "validation 71.2 %" in seen
    assert "to go (1 training at the pace of those measured)" in seen
    assert "something happened" in seen
    assert "training loss" not in seen  # the display says so
    last = seen[seen.rindex(SHOWN) :]
    assert ERASED in last
    assert last.rstrip().endswith("the end")
    log = (tmp_path / "run.log").read_text()
    assert "maml, round 30 of 50: training loss 1.500" in log
    assert "something happened" in log and "\x1b" not in log


def test_ctrl_c_leaves_the_terminal_clean(tmp_path: Path) -> None:
    seen = in_a_terminal(tmp_path, stop_at="/50", ROUND_S="0.2")
    assert seen.count(HIDDEN) == seen.count(SHOWN) == 1
    rest = seen[seen.rindex(SHOWN) :]
    assert ERASED in rest and "round" not in rest.partition("Traceback")[0]
    assert "SIGINT" in rest  # told by whoever called


def test_what_is_no_terminal_gets_lines(tmp_path: Path) -> None:
    seen = in_a_terminal(tmp_path, TERM="dumb")
    assert HIDDEN not in seen
    assert "maml, round 30 of 50: training loss 1.500" in seen


def test_nothing_is_left_under_way() -> None:
    assert not UNDER_WAY
    assert DISPLAY._live is None
