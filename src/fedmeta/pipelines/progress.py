"""Progress of long work: a line now and then, so that it reads well in a log too."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY_S = 20.0  # seconds between two lines on a training


def progress(items: Iterable[T], what: str, every_s: float = 5.0) -> Iterator[T]:
    """The same items, with a log line every ``every_s`` seconds and at the end."""
    start = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_s:
            log.info("%d %s in %.0f s", count, what, now - start)
            last = now
    log.info("%d %s in %.1f s", count, what, time.monotonic() - start)


class Clock:
    """Logs progress and remaining time of a training now and then."""

    def __init__(self, name: str, first: int, rounds: int) -> None:
        self.name, self.first, self.rounds = name, first, rounds
        self.start = self.said = time.monotonic()

    def tick(self, number: int, loss: float) -> None:
        now = time.monotonic()
        if now - self.said < EVERY_S:
            return
        self.said = now
        pace = (now - self.start) / (number - self.first)
        log.info(
            "%s, round %d of %d: training loss %.3f, %.2f s a round, %s to go",
            self.name,
            number,
            self.rounds,
            loss,
            pace,
            duration(pace * (self.rounds - number)),
        )


def duration(seconds: float) -> str:
    """ "4.2 s", "12 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )
