"""Progress of long work: a line now and then, so that it reads well in a log too."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


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
