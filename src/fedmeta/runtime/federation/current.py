"""The federation of this process, where it has one: inside of Flower's ServerApp."""

from collections.abc import Iterator
from contextlib import contextmanager

from fedmeta.runtime.federation.rounds import Federation

_current: list[Federation] = []  # of this process, at most one


@contextmanager
def taking_part(federation: Federation) -> Iterator[None]:
    """Make a federation that of this process for a while."""
    _current.append(federation)
    try:
        yield
    finally:
        _current.pop()


def is_taking_part() -> bool:
    """Whether this process has a federation."""
    return bool(_current)


def current() -> Federation:
    """The federation of this process.

    Raises:
        ValueError: outside of Flower.
    """
    if not _current:
        raise ValueError(
            "clients on nodes are reached from inside Flower: make"
            " federation, or flwr run federation (docs/how-to/federation.md)"
        )
    return _current[-1]
