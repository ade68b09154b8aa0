"""What a model may know beforehand of the derivatives that will be taken.

It may choose by it how it computes a value, never which.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_second_order: ContextVar[bool] = ContextVar("second_order", default=False)


@contextmanager
def second_order() -> Iterator[None]:
    """While a value is computed whose gradient will be differentiated again."""
    token = _second_order.set(True)
    try:
        yield
    finally:
        _second_order.reset(token)


def is_second_order() -> bool:
    """Whether the gradient of what is being computed will be differentiated again."""
    return _second_order.get()
