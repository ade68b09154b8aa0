"""Progress of long work: lines in the log, and what a display shows in their place.

A `Clock` times a training, `progress` counts whatever else takes long. Both are in
`UNDER_WAY` as long as they work; `fedmeta.display` reads them there, and is told of
what happens to them by `LISTENERS`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY_S = 20.0  # seconds between two lines on a training
# Of log lines that repeat what a display shows: it drops them from the terminal.
REPEATED = {"progress": True}
NODE: ContextVar[str] = ContextVar("node", default="")  # that runs in this thread
UNDER_WAY: "dict[int, Clock | ItemCount]" = {}  # by the object's id, in order
# Called with what has begun, come to another round, or ended.
LISTENERS: "list[Callable[[Clock | ItemCount], None]]" = []
PART: ContextVar[str] = ContextVar("part", default="")  # of a sweep that this run is


def lasts(argument: str, option: str) -> Callable[[T], T]:
    """Tie to the function of a node where its parameters say how many rounds it takes.

    Args:
        argument: of the function, a block of parameters.
        option: of that block.
    """

    def tie(function: T) -> T:
        function.lasts = argument, option  # type: ignore[attr-defined]
        return function

    return tie


class ItemCount:
    """How many items are done, of how many where that is known."""

    def __init__(self, name: str, total: int | None = None) -> None:
        self.name, self.total, self.done = name, total, 0
        self.start = time.monotonic()

    def words(self) -> str:
        """As "120 of 400 runs in 20 s, 47 s to go"."""
        seconds = time.monotonic() - self.start
        if self.total is None or not self.done:
            return f"{self.done} {self.name} in {seconds:.0f} s"
        told = f"{self.done} of {self.total} {self.name} in {seconds:.0f} s"
        far = duration(seconds / self.done * (self.total - self.done))
        return f"{told}, {far} to go"


class Clock:
    """Times the rounds of a training and logs its progress now and then.

    Args:
        name: of the training.
        rounds: that are wanted, those before a resumption included.
        timing: rows of earlier `at`, of the training that is resumed.
    """

    def __init__(
        self, name: str, rounds: int, timing: Sequence[dict[str, float]] = ()
    ) -> None:
        self.name, self.rounds, self.node = name, rounds, NODE.get()
        self.loss: float | None = None
        self.accuracy: float | None = None  # the last validation one, in percent
        self.first = self.number = 0  # the rounds of before, and the last one
        self.start = self.said = time.monotonic()
        self._rows = list(timing)
        last = self._rows[-1] if self._rows else {}
        self._spent = {key: last.get(key, 0.0) for key in ("training", "evaluation")}

    @property
    def pace(self) -> float | None:
        """Seconds a round of this process, evaluations included; None before one."""
        done = self.number - self.first
        return (time.monotonic() - self.start) / done if done else None

    @property
    def to_go(self) -> float | None:
        """Seconds until the last round; None before the first."""
        return None if self.pace is None else self.pace * (self.rounds - self.number)

    def timed(self, rounds: Iterable[T], first: int) -> Iterator[T]:
        """The same rounds; the time that they take is counted as training.

        Args:
            rounds: lazy.
            first: the round that the training has come to before.
        """
        self.start = self.said = time.monotonic()
        self.first = self.number = first
        waiting = iter(rounds)
        with _under_way(self):
            while True:
                with self._counted("training"):
                    try:
                        item = next(waiting)
                    except StopIteration:
                        return
                yield item

    def evaluating(self) -> AbstractContextManager[None]:
        """Count the time of an evaluation on validation clients."""
        return self._counted("evaluation")

    def tick(self, number: int, loss: float) -> None:
        """Note a round, and log a line if the last one is long ago."""
        self.number, self.loss = number, loss
        now = time.monotonic()
        if now - self.said >= EVERY_S:
            self.said = now
            log.info(
                "%s, round %d of %d: training loss %.3f, %.2f s a round, %s to go",
                self.name,
                number,
                self.rounds,
                loss,
                self.pace,
                duration(self.to_go or 0),
                extra=REPEATED,
            )
        _tell(self)

    def validated(self, number: int, before: float, after: float) -> None:
        """Note and log accuracies on validation clients, in percent."""
        self.accuracy = after
        log.info(
            "%s, round %d of %d: validation accuracy %.1f %% before, %.1f %% after"
            " adaptation",
            self.name,
            number,
            self.rounds,
            before,
            after,
            extra=REPEATED,
        )

    def at(self, number: int) -> list[dict[str, float]]:
        """Wall-clock seconds at every evaluated round until this one.

        Returns:
            Rows of ``round``, ``training`` (seconds in rounds) and ``evaluation``
            (seconds in evaluations), both since round 0, stops not counted.
        """
        spent = {key: round(value, 3) for key, value in self._spent.items()}
        self._rows = [*self._rows, {"round": number, **spent}]
        return self._rows

    @contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._spent[kind] += time.monotonic() - began


def progress(items: Iterable[T], what: str, every_s: float = 5.0) -> Iterator[T]:
    """The same items, with a log line every ``every_s`` seconds and at the end.

    It says how long is to go where the items have a length.
    """
    count = ItemCount(what, len(items) if isinstance(items, Sized) else None)
    last = count.start
    with _under_way(count):
        for item in items:
            count.done += 1
            yield item
            now = time.monotonic()
            if now - last >= every_s:
                log.info("%s", count.words(), extra=REPEATED)
                last = now
    log.info("%d %s in %.1f s", count.done, what, time.monotonic() - count.start)


@contextmanager
def _under_way(work: Any) -> Iterator[None]:
    UNDER_WAY[id(work)] = work
    try:
        _tell(work)
        yield
    finally:
        UNDER_WAY.pop(id(work), None)
        _tell(work)


def _tell(work: Any) -> None:
    for listener in LISTENERS:
        listener(work)


def duration(seconds: float) -> str:
    """ "4.2 s", "12 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )
