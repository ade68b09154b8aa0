"""Sums of numbers that are exact: they are the same in any order and division.

A float32 is a whole multiple of 2**-172 (of 2**-149 even), and so are sums of them, as
Python's integers have them. Adding floats rounds, and depends on who is added first.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

UNIT = Fraction(1, 2**172)
_BITS = 24  # of a float32's mantissa
_LEAST = -148  # exponent of the smallest float32, as `np.frexp` has it
_RANGE = 277  # of exponents


def sums(values: np.ndarray) -> tuple[int, int]:
    """The sum of some numbers and that of their squares.

    Args:
        values: float32 [n], all finite, n below 2^28.

    Returns:
        Multiples of `UNIT` and of ``UNIT ** 2``.

    >>> total, squares = sums(np.array([0.5, -2], np.float32))
    >>> total * UNIT, squares * UNIT**2
    (Fraction(-3, 2), Fraction(17, 4))
    """
    mantissa, exponent = np.frexp(values.astype(np.float64))
    whole, place = mantissa * 2.0**_BITS, exponent - _LEAST
    high, low = np.divmod(whole * whole, 2.0**_BITS)
    # float64 holds such sums of less than 2^53 exactly
    counted = (
        [int(total) for total in np.bincount(place, part, _RANGE)]
        for part in (whole, high, low)
    )
    first, upper, lower = counted
    total = sum(part << n for n, part in enumerate(first))
    pairs = zip(upper, lower, strict=True)
    return total, sum(((h << _BITS) + w) << 2 * n for n, (h, w) in enumerate(pairs))


def moments(total: int, squares: int, count: int) -> tuple[float, float]:
    """Mean and variance of ``count`` numbers, each rounded once; zeros of none.

    Args:
        total: of the numbers, as of `sums`.
        squares: of their squares.
        count: how many.
    """
    if not count:
        return 0.0, 0.0
    mean = Fraction(total, count)
    variance = Fraction(squares, count) - mean * mean
    return float(mean * UNIT), float(variance * UNIT * UNIT)
