"""The one error that bad input ends in, and how it is shown."""

from collections.abc import Collection


class DataError(ValueError):
    """Data that cannot be used; one line that names place, expectation and remedy."""


def check_known(name: str, known: Collection[str], what: str) -> None:
    """Raise a DataError for a name that is not among those known."""
    if name not in known:
        raise DataError(f"unknown {what} {name!r}; one of {', '.join(known)}")


def check_range(name: str, least: float, greatest: float) -> None:
    """Raise a DataError for a range in which there is nothing."""
    if least > greatest:
        raise DataError(
            f"{name} from {least} to {greatest}: expected the least number first"
        )


def printable(text: str) -> str:
    """Escape control characters of a text from outside, for the terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
