"""How long a run still takes, by measured seconds only.

They are of earlier runs of the same settings on the same machine, and of the rounds of
this one. Until something is measured nothing is said, and what is taken over from
something else is said with it.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fedmeta import identity
from fedmeta.configuration import blocks_read
from fedmeta.data.files import whole_path
from fedmeta.pipelines.progress import UNDER_WAY, Clock, duration

log = logging.getLogger(__name__)

WORTH_SAYING_S = 60.0  # of work, before it starts
FIRST = 2  # rounds before a pace is told: the first one also warms up
SAME = ("processor", "threads")  # of the environment that a pace was measured in


@dataclass
class Stage:
    """A node of a pipeline, and what is known of its time."""

    rounds: int = 0  # of a training; 0: it is none
    pace: float | None = None  # seconds a round, or of all that is no training
    started: float | None = None
    done: bool = False


class Left(NamedTuple):
    """What is left of a run."""

    seconds: float | None  # None: nothing is measured
    assumed: int  # trainings for which the pace of others is taken
    unknown: int  # other stages of which nothing is known, and which are not in it

    def words(self) -> str:
        """The time, and what is taken for granted in it."""
        if self.seconds is None:
            return ""
        notes = []
        if self.assumed:
            some = f"{self.assumed} training{'s' * (self.assumed != 1)}"
            notes.append(f"{some} at the pace of those measured")
        if self.unknown:
            some = f"{self.unknown} stage{'s' * (self.unknown != 1)}"
            notes.append(f"not counting {some} that have not been timed yet")
        return f"about {duration(self.seconds)} to go" + (
            f" ({', '.join(notes)})" if notes else ""
        )


class Stages:
    """The stages of a run."""

    def __init__(self, name: str, stages: dict[str, Stage]) -> None:
        self.name, self.stages = name, stages
        self.told = False

    @property
    def trainings(self) -> tuple[int, int]:
        """How many have ended, of how many."""
        found = [stage.done for stage in self.stages.values() if stage.rounds]
        return sum(found), len(found)

    def begun(self, node: str) -> None:
        """Note the start of a stage."""
        if node in self.stages:
            self.stages[node].started = time.monotonic()

    def ended(self, node: str) -> None:
        """Note the end of a stage, if it was one."""
        stage = self.stages.get(node)
        if stage is not None and stage.started is not None:
            stage.done = True
            if not stage.rounds:
                stage.pace = round(time.monotonic() - stage.started, 1)

    def left(self) -> Left:
        """The time that is left, as far as it can be known."""
        clocks = {w.node: w for w in [*UNDER_WAY.values()] if isinstance(w, Clock)}
        for node, clock in clocks.items():
            if node in self.stages and clock.number - clock.first >= FIRST:
                self.stages[node].pace = clock.pace
        paces = [s.pace for s in self.stages.values() if s.rounds and s.pace]
        seconds, assumed, unknown = 0.0, 0, 0
        for node, stage in self.stages.items():
            if stage.done:
                continue
            pace = stage.pace
            if stage.rounds:
                if pace is None and paces:
                    pace, assumed = sum(paces) / len(paces), assumed + 1
                at = clocks[node].number if node in clocks else 0
                seconds += (pace or 0) * max(stage.rounds - at, 0)
            elif pace is not None:
                since = time.monotonic() - stage.started if stage.started else 0
                seconds += max(pace - since, 0)
            else:
                unknown += 1
        measured = bool(paces) or not any(s.rounds for s in self.stages.values())
        return Left(seconds if measured else None, assumed, unknown)

    def tell(self) -> None:
        """Log once how long it takes, as soon as it is known, if that is long."""
        left = self.left()
        if self.told or left.seconds is None:
            return
        self.told = True
        if left.seconds > WORTH_SAYING_S:
            done, trainings = self.trainings
            log.info(
                "%s: %s; trainings left: %d, or fewer if earlier runs finished some",
                self.name,
                left.words(),
                trainings - done,
            )


def stages_of(
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    parameters: Mapping[str, Any],
    earlier: Mapping[str, float],
) -> dict[str, Stage]:
    """The stages of a pipeline by the names of its nodes, with what is known of them.

    Args:
        earlier: seconds of the stages of earlier runs, by the names of nodes.
    """
    stages = {}
    for node in pipeline.nodes:
        stage = stages[node.name] = Stage(pace=earlier.get(node.name))
        if where := getattr(node.func, "lasts", None):
            blocks = blocks_read(node, parameters)
            given = {argument: block.options for argument, block in blocks.items()}
            stage.rounds = int(given[where[0]][where[1]])
            stage.pace = _measured(node, catalog, given)
    return stages


def write_seconds(path: Path, plan: Stages) -> None:
    """Keep the seconds of stages that have ended, but for those of trainings."""
    known = {
        name: stage.pace
        for name, stage in plan.stages.items()
        if stage.done and stage.pace is not None and not stage.rounds
    }
    try:
        with whole_path(path) as temporary:
            temporary.write_text(json.dumps({**read_json(path), **known}, indent=1))
    except OSError:  # the disk is full or may not be written: the run is what counts
        pass


def _measured(
    node: Node, catalog: CatalogProtocol, given: Mapping[str, Any]
) -> float | None:
    """Seconds a round of the newest earlier training with these options, if any.

    Seeds, the number of rounds and support fractions change no pace: a training under
    another of them counts. So does an evaluation on the way.
    """
    wanted = identity.settings(**given)
    here = identity.environment()
    paths = [
        path
        for name in node.outputs
        if name.endswith(".history") and name in catalog
        for file in [Path(getattr(catalog.get(name), "_filepath", ""))]
        for path in file.parent.parent.glob(f"*/{file.stem}.json")
    ]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        held = read_json(path)
        timing, there = held.get("timing"), held.get("environment", {})
        odd = [
            name
            for name in identity.conflicts(held.get("settings", {}), wanted)
            if not name.endswith((".seed", ".rounds", ".steps"))
        ]
        if timing and not odd and all(there.get(k) == here[k] for k in SAME):
            first, last = timing[0], timing[-1]
            seconds = sum(last[k] - first[k] for k in ("training", "evaluation"))
            if last["round"] > first["round"]:
                return float(seconds / (last["round"] - first["round"]))
    return None


def read_json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where there is none, or a damaged one."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # not worth an error
        return {}
