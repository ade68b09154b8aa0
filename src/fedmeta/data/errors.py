"""The one error that bad input ends in, and how it is shown."""


class DataError(ValueError):
    """Data that cannot be used; one line that names place, expectation and remedy."""


def printable(text: str) -> str:
    """Escape control characters of a text from outside, for the terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
