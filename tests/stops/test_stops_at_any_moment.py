"""A command that is stopped and typed again ends as one that nobody stopped."""

import contextlib
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import pytest
from commands import MADE_IN_STEPS, Tracked, files, tracked, unfinished
from mlflow.tracking import MlflowClient
from zygotes import Stop, Zygote

COMMANDS = {  # name -> what is typed after `kedro`
    "with a report": ["run", "--env", "smoke", "--pipeline", "femnist_fedmeta"],
    "of many rounds": [
        *("run", "--env", "smoke", "--pipeline", "femnist_maml"),
        *("--params", "femnist.training.rounds=16"),
    ],
}
KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
AT_RANDOM, AT_WRITES = 32, 12
AT_ONCE = 2
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Unbroken(NamedTuple):
    """A run that nobody stopped."""

    words: list[str]
    files: dict[str, bytes | str]
    tracked: list[Tracked]
    seconds: float
    writes: int


class Trial(NamedTuple):
    """A command that was stopped, and typed again."""

    stop: Stop
    code: int  # of the first
    left: list[Path]  # half-written files, after the stop
    resumed: bool  # by the second
    wrong: dict[str, str]  # "stopped", "files", "tracking": what was not as it should


@pytest.fixture(scope="module")
def zygotes() -> Iterator[Queue]:
    """Those that have nothing to do."""
    made = [Zygote() for _ in range(AT_ONCE)]
    queue: Queue = Queue()
    for zygote in made:
        queue.put(zygote)
    yield queue
    for zygote in made:
        zygote.close()


@pytest.fixture(scope="module")
def unbroken(new_project: Callable[[], Path], zygotes: Queue) -> dict[str, Unbroken]:
    """By the name of the command."""

    def run(words: list[str], folder: Path) -> Unbroken:
        with borrowed(zygotes) as zygote:
            began = time.monotonic()
            assert zygote.run(folder, words) == 0
            seconds = time.monotonic() - began
        writes = int(re.search(r"(\d+) writes", (folder / "log").read_text())[1])
        return Unbroken(words, files(folder), tracked(folder), seconds, writes)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        folders = [new_project() for _ in COMMANDS]
        return dict(zip(COMMANDS, pool.map(run, COMMANDS.values(), folders)))


@pytest.fixture(scope="module")
def trials(
    new_project: Callable[[], Path],
    tmp_path_factory: pytest.TempPathFactory,
    zygotes: Queue,
    unbroken: dict[str, Unbroken],
) -> list[Trial]:
    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{store}")
    plan = [*at_random(zygotes, unbroken), *at_writes(unbroken)]

    def trial(planned: tuple[str, Stop]) -> Trial:
        name, stop = planned
        folder = new_project()
        if stop.imported:  # the others have to make one
            shutil.copy(store, folder)
        with borrowed(zygotes) as zygote:
            found = tried(zygote, stop, folder, unbroken[name])
        shutil.rmtree(folder)
        if found.code != 0 or any(found.wrong.values()):
            return found
        return trial((name, stop.earlier()))  # it had ended

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(trial, plan))


def test_a_stop_leaves_nothing_half(trials: list[Trial]) -> None:
    nothing_is_wrong(trials, "stopped")
    # One that comes in the very moment in which a file is tidied away may leave it to
    # the next run; that is seldom.
    left = [t.left for t in trials if t.left and t.code == 128 + t.stop.number]
    assert len(left) <= 0.05 * len(trials), left


def test_what_is_typed_again_ends_as_an_unbroken_run(trials: list[Trial]) -> None:
    nothing_is_wrong(trials, "files")


def test_tracking_is_complete(trials: list[Trial]) -> None:
    nothing_is_wrong(trials, "tracking")


def test_the_stops_were_what_they_should_be(trials: list[Trial]) -> None:
    """Seen by the command, where a signal can be, and in the middle of training."""
    for number in KINDS:
        of_kind = [trial for trial in trials if trial.stop.number == number]
        tidied = [trial for trial in of_kind if trial.code == 128 + number]
        assert bool(tidied) == (number != signal.SIGKILL)
    assert sum(trial.resumed for trial in trials) >= AT_RANDOM / 5


def at_random(
    zygotes: Queue, unbroken: dict[str, Unbroken]
) -> Iterator[tuple[str, Stop]]:
    """Over the whole of a run, and over the first seconds of new processes."""
    rng = random.Random(13)
    with borrowed(zygotes) as zygote:
        first_seconds = 1.5 * zygote.seconds
    for number in range(AT_RANDOM):
        name = list(COMMANDS)[number % 4 > 0]
        imported = number % 5 != 0
        seconds = rng.uniform(0, unbroken[name].seconds if imported else first_seconds)
        yield name, Stop(KINDS[number % 3], seconds=seconds, imported=imported)


def at_writes(unbroken: dict[str, Unbroken]) -> Iterator[tuple[str, Stop]]:
    """Exactly before and after something is written."""
    rng = random.Random(14)
    for number in range(AT_WRITES):
        name = list(COMMANDS)[number % 4 > 0]
        write = rng.randrange(1, unbroken[name].writes)
        yield name, Stop(KINDS[number % 3], write=write, after=number % 2 == 1)


def tried(zygote: Zygote, stop: Stop, folder: Path, unbroken: Unbroken) -> Trial:
    code, log = zygote.run(folder, unbroken.words, stop), folder / "log"
    wrong = {"stopped": "; ".join(_wrong_when_stopped(stop, code, folder, unbroken))}
    left = unfinished(folder)
    log.unlink(missing_ok=True)
    again = zygote.run(folder, unbroken.words)
    text = log.read_text()
    wrong["files"] = "; ".join(_wrong_in_the_end(again, folder, unbroken, text))
    runs = tracked(folder)
    if runs != unbroken.tracked:
        wrong["tracking"] = (
            "; ".join(
                f"{run.algorithm} {run.status}, {len(run.points)} points, {run.files}"
                for run in runs
                if run not in unbroken.tracked
            )
            or f"{len(runs)} runs"
        )
    return Trial(stop, code, left, "after round" in text, wrong)


def _wrong_when_stopped(
    stop: Stop, code: int, folder: Path, unbroken: Unbroken
) -> Iterator[str]:
    log = folder / "log"
    text = log.read_text() if log.exists() else ""
    if code == 128 + stop.number:
        if "the same command resumes" not in text or "Traceback" in text:
            yield f"says {text[-2000:]}"
        running = {run.algorithm for run in tracked(folder) if run.status == "RUNNING"}
        if running:
            yield f"{running} are still running in MLflow"
    # Before it is Kedro's session that runs, Python and click end as they do.
    elif code not in (0, -stop.number, 1 if stop.number == signal.SIGINT else 0):
        yield f"exit code {code}: {text[-2000:]}"
    for name, content in files(folder).items():
        if not any(part in name for part in MADE_IN_STEPS):
            if content != unbroken.files[name]:
                yield f"{name} is not whole"


def _wrong_in_the_end(
    code: int, folder: Path, unbroken: Unbroken, text: str
) -> Iterator[str]:
    if code != 0:
        yield f"exit code {code}: {text[-2000:]}"
    if left := unfinished(folder):
        yield f"has left {left}"
    found = files(folder)
    differ = found.items() ^ unbroken.files.items()
    if differ:
        yield f"differ: {sorted({name for name, _ in differ})}"


def nothing_is_wrong(trials: list[Trial], topic: str) -> None:
    wrong = [
        f"{trial.stop}, exit code {trial.code}: {trial.wrong[topic]}"
        for trial in trials
        if trial.wrong.get(topic)
    ]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@contextlib.contextmanager
def borrowed(zygotes: Queue) -> Iterator[Zygote]:
    zygote = zygotes.get()
    try:
        yield zygote
    finally:
        zygotes.put(zygote)
