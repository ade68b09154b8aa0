"""Sums that no order changes."""

from fractions import Fraction

import numpy as np
import pytest

from fedmeta.data.exact import UNIT, moments, sums

LEAST, MOST = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max


@pytest.mark.parametrize(
    "numbers",
    [[], [0], [0.1, -0.1, 0.1], [1e8, 1, -1e8], [LEAST, -MOST, MOST, LEAST, -0.0]],
)
def test_they_are_those_of_fractions(numbers):
    values = np.array(numbers, np.float32)
    exact = [Fraction(float(value)) for value in values]
    total, squares = sums(values)
    assert total * UNIT == sum(exact)
    assert squares * UNIT**2 == sum(value**2 for value in exact)


def test_parts_add_up_to_the_whole():
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    parts = [sums(part) for part in np.split(values, [1, 10, 5_000])]
    assert tuple(map(sum, zip(*parts, strict=True))) == sums(values)


def test_moments_are_rounded_once():
    values = np.array([3, 5, 10], np.float32)
    mean, variance = moments(*sums(values), 3)
    assert (mean, variance) == (6, float(Fraction(26, 3)))
    assert moments(0, 0, 0) == (0, 0)


def test_a_constant_has_no_variance():
    """The mean of floats is off by a digit, and that would be taken for a deviation."""
    values = np.full(3, 0.1, np.float32)
    assert moments(*sums(values), 3) == (float(values[0]), 0)
