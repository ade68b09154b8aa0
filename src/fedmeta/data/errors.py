"""The one error that bad input ends in."""


class DataError(ValueError):
    """Data that cannot be used; one line that names place, expectation and remedy."""
