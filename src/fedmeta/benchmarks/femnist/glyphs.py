"""Hand-made letterforms of the 62 FEMNIST classes, and the habits that choose them.

A form is a text: strokes separated by ``;``, each a list of ``x,y`` points, joined by
straight lines or, after ``~``, by a smooth curve through the points. The capital box
is 10 x 10 with y downwards; small letters start at y = 4, descenders end at 14.

A writer has four habits, each with two values, and a habit chooses the forms of many
classes at once. Between the two values of a habit a form changes its meaning (a plain
ring is 0 for one writer and O for another), so that no single model can read
everybody, while a few of a writer's records tell how to read all the others.
"""

from functools import cache

import numpy as np

HABITS = ("bars", "case", "bowls", "curls")

SMALL_SCALE = 0.8  # x-height over capital height
PIECES = 3  # straight segments between two points of a curve

FORMS = {
    # rings and sticks
    "ring": "~5,0 1.5,2.5 1.5,7.5 5,10 8.5,7.5 8.5,2.5 5,0",
    "slashed ring": "~5,0 1.5,2.5 1.5,7.5 5,10 8.5,7.5 8.5,2.5 5,0; 8.5,0.5 1.5,9.5",
    "looped ring": "~7.5,0 4.5,0.5 1.5,3 2,8 5,10 8.5,7.5 8,2.5 5,1.2 4.5,3 9,2.5",
    "stick": "5,0 5,10",
    "hook": "2,2.5 7,0 5,10",
    "serif stick": "5,0 5,10; 2.5,0 7.5,0; 2.5,10 7.5,10",
    "looped stick": "~2,7.5 6.5,3 6,0 4,1 4,7 5,10 7.5,8.5",
    "hooked stick": "~4,0 4,7.5 5,10 7.5,9.2",
    # digits
    "swan": "~1.5,2.5 4,0 7.5,1 7.5,4 4.5,7.5 1.5,10; 1.5,10 8.5,10",
    "three": "~1.5,1 5,0 8,2 7,4.3 4,4.8; ~4,4.8 8,6 8,9 4.5,10 1.5,8.8",
    "flat three": "1.5,0 8,0 4.5,4.3; ~4.5,4.3 8.3,6 7.5,9.3 4,10 1.5,8.8",
    "open four": "3,0 1.5,6 8.5,6; 6.5,2 6.5,10",
    "five": "8,0 2.5,0 2,4.5; ~2,4.5 5.5,3.6 8.3,6.5 6,9.7 1.5,9",
    "six": "~7.5,0.5 3.5,3 1.8,7 4.5,10 8,8.2 6.5,5.3 2.2,6.8",
    "barred seven": "1.5,0.5 8.5,0.5 4,10; 3,5 8,5",
    "two rings": "~5,4.7 2,2.5 5,0 8,2.5 5,4.7 1.5,7.5 5,10 8.5,7.5 5,4.7",
    "crossed eight": "~8,1.5 5,0 2,2 4.5,4.7 8,7.5 5,10 1.5,7.5 5,4.7 8,1.5",
    "pointed ring": "6.8,0 1.8,4.7 7,5.4; 6.8,0 6.5,10",
    "stemmed ring": "~7.5,2.5 4.5,0 1.8,2.7 4.5,5.3 7.5,2.5; 7.5,0.5 7.5,10",
    "hooked ring": "~7.5,2.5 4.5,0 1.8,2.7 4.5,5.3 7.5,2.5; ~7.5,0.5 7.5,7.5 5,10 2,9",
    "flicked ring": "~7,2.5 4,0 1.3,2.7 4,5.3 7,2.5; 7,0.5 7,10 9.5,7.5",
    # capitals
    "A": "1,10 5,0 9,10; 2.8,6.3 7.2,6.3",
    "round A": "~1.5,10 1.8,3 5,0 8.2,3 8.5,10; 1.8,6 8.3,6",
    "B": "2,0 2,10; ~2,0 7,0.8 7,4 2,4.8; ~2,4.8 8.5,5.6 8,9.2 2,10",
    "C": "~8.5,2 5.5,0 2,3 2,7 5.5,10 8.5,8",
    "D": "2,0 2,10; ~2,0 7,1 9,5 7,9 2,10",
    "E": "8,0 2,0 2,10 8,10; 2,5 7,5",
    "epsilon": "~8,1.5 5,0 2.5,2 5,4.7; ~5,4.7 1.8,7 4.5,10 8.5,8.5",
    "F": "8.5,0 2,0 2,10; 2,4.8 7,4.8",
    "G": "~8.5,2 5.5,0 2,3 2,7 5.5,10 8.5,8; 8.5,10 8.5,5.7 5.5,5.7",
    "H": "2,0 2,10; 8,0 8,10; 2,5 8,5",
    "J": "~7,0 7,7.5 5,10 2,8",
    "topped J": "~7,0 7,7.5 5,10 2,8; 4,0 9.5,0",
    "K": "2,0 2,10; 8.5,0 2,6; 4,4.6 8.5,10",
    "L": "2.5,0 2.5,10 8.5,10",
    "looped L": "~3,2 6,0 7,2 4,6 3,9.5 1.5,9.5 3,8.5 8.8,10",
    "M": "1,10 1.8,0 5,7 8.2,0 9,10",
    "N": "2,10 2,0 8,10 8,0",
    "P": "2,0 2,10; ~2,0 8,1 8,4.5 2,5.5",
    "Q": "~5,0 1.5,2.5 1.5,7.5 5,10 8.5,7.5 8.5,2.5 5,0; 5.5,7 9.5,11",
    "swan Q": "~2,2 5,0 8,3 5.5,8 2.5,9.5 2.5,8 5,8.5 9,10.5",
    "R": "2,0 2,10; ~2,0 8,1 8,4.5 2,5.5; 4.5,5.4 8.5,10",
    "ess": "~8,1.5 5,0 2,2 4,4.5 7,6 8,8.5 5,10 1.5,8.5",
    "looped ess": "~1.5,10 5,7 8,2.5 6,0 4.5,2 7,5 8,8 5,10 2,8.5",
    "T": "1,0 9,0; 5,0 5,10",
    "U": "~2,0 2,6.5 5,10 8,6.5 8,0",
    "V": "1.5,0 5,10 8.5,0",
    "W": "0.5,0 3,10 5,3.5 7,10 9.5,0",
    "X": "1.5,0 8.5,10; 8.5,0 1.5,10",
    "Y": "1.5,0 5,5; 8.5,0 5,5 5,10",
    "zed": "1.5,0.5 8.5,0.5 1.5,10 8.5,10",
    "barred zed": "1.5,0.5 8.5,0.5 1.5,10 8.5,10; 2.5,5.2 7.5,5.2",
    # small letters that are not small capitals
    "one-storey a": "~7.5,5 4.5,4 2,7 4.5,10 7.5,8; 7.5,4 7.5,10",
    "two-storey a": "~2.5,5 5,4 7.5,5.5 7.5,10; ~7.5,7 3,7.3 2,9 4,10.2 7.5,8.7",
    "b": "2.5,0 2.5,10; ~2.5,6 5.5,4 8,7 5.5,10 2.5,8.5",
    "d": "7.5,0 7.5,10; ~7.5,6 4.5,4 2,7 4.5,10 7.5,8.5",
    "delta": "~8,1 4.5,0 5,3 7.5,7 5,10 2,7.5 4.5,5 7,6.2",
    "e": "~2,7.2 8,6.8 6,4 3,4.6 2,7.5 4.5,10 8,9",
    "f": "~7.5,1.2 5.5,0 4.2,2 4.2,10; 2,4.5 7,4.5",
    "looped f": "~3,8 6.5,3 6,0 4.2,2 4.2,14 5.5,12 4.5,8.5 7.5,7",
    "h": "2.5,0 2.5,10; ~2.5,6.5 5,4.2 7.5,6 7.5,10",
    "looped h": "~2,8 5,2.5 4.5,0 3,2 3,10; ~3,7 5.5,4.5 7.5,6.5 7.5,10",
    "i": "5,4 5,10; 5,1 5,1.6",
    "hooked i": "~4.5,4 4.5,8.5 5.5,10 7.5,9; 4.5,1 4.5,1.6",
    "j": "~6,4 6,12 4.5,14 2,12.5; 6,1 6,1.6",
    "n": "2.5,4 2.5,10; ~2.5,6.5 5,4 7.5,6 7.5,10",
    "r": "2.5,4 2.5,10; ~2.5,6.5 4.5,4.2 7.5,4.8",
    "t": "5,1 5,10; 2,4 8,4",
}

_SAME_IN_SMALL = "CKPUVWXMNY"  # the case is told by the size, and by a tail
# character -> (habit, form at value 0, form at value 1). "small" before a form scales
# it to x-height, "tailed" lengthens its last stroke.
CONVENTIONS = {
    "0": ("bars", "ring", "slashed ring"),
    "O": ("bars", "looped ring", "ring"),
    "1": ("bars", "stick", "hook"),
    "I": ("bars", "serif stick", "stick"),
    "2": ("bars", "swan", "zed"),
    "Z": ("bars", "zed", "barred zed"),
    "z": ("bars", "small zed", "small barred zed"),
    "7": ("bars", "hook", "barred seven"),
    "J": ("bars", "J", "topped J"),
    "3": ("bars", "three", "flat three"),
    "o": ("case", "small ring", "small tailed ring"),
    "4": ("bowls", "open four", "pointed ring"),
    "9": ("bowls", "pointed ring", "hooked ring"),
    "g": ("bowls", "hooked ring", "two rings"),
    "q": ("bowls", "flicked ring", "stemmed ring"),
    "8": ("bowls", "two rings", "crossed eight"),
    "a": ("bowls", "one-storey a", "two-storey a"),
    "5": ("curls", "five", "ess"),
    "S": ("curls", "ess", "looped ess"),
    "s": ("curls", "small ess", "small looped ess"),
    "6": ("curls", "six", "b"),
    "b": ("curls", "b", "six"),
    "A": ("curls", "A", "round A"),
    "E": ("curls", "E", "epsilon"),
    "e": ("curls", "e", "small epsilon"),
    "L": ("curls", "L", "looped L"),
    "l": ("curls", "hooked stick", "looped stick"),
    "Q": ("curls", "Q", "swan Q"),
    "d": ("curls", "d", "delta"),
    "f": ("curls", "f", "looped f"),
    "h": ("curls", "h", "looped h"),
    "i": ("curls", "i", "hooked i"),
    "r": ("curls", "r", "n"),
    "t": ("curls", "t", "f"),
    **{c: ("case", f"tailed {c}", c) for c in _SAME_IN_SMALL},
    **{c.lower(): ("case", f"small {c}", f"small tailed {c}") for c in _SAME_IN_SMALL},
    **{letter: ("curls", letter, letter) for letter in "BDFGHRTj"},
}


@cache
def segments(form: str) -> np.ndarray:
    """[k, 2, 2] the start and end points of a form's segments, centred on its box."""
    strokes = _strokes(form)
    lines = np.concatenate(
        [np.stack([s[:-1], s[1:]], axis=1) for s in strokes]
    )  # [k, 2 ends, 2 xy]
    points = lines.reshape(-1, 2)
    return lines - (points.min(axis=0) + points.max(axis=0)) / 2


def _strokes(form: str) -> list[np.ndarray]:
    """The polylines [n, 2] of a form whose name may begin with modifiers."""
    modifier, _, rest = form.partition(" ")
    if form in FORMS or modifier not in _MODIFIERS:
        return [_polyline(stroke.strip()) for stroke in FORMS[form].split(";")]
    return _MODIFIERS[modifier](_strokes(rest))


def _polyline(stroke: str) -> np.ndarray:
    points = np.array(
        [[float(v) for v in p.split(",")] for p in stroke.lstrip("~").split()]
    )
    return _curve(points) if stroke.startswith("~") else points


def _curve(points: np.ndarray) -> np.ndarray:
    """The Catmull-Rom curve through the points; closed where they end at the start."""
    closed = np.array_equal(points[0], points[-1])
    before = points[-2] if closed else 2 * points[0] - points[1]
    after = points[1] if closed else 2 * points[-1] - points[-2]
    padded = np.vstack([before, points, after])
    p0, p1, p2, p3 = (padded[i : i + len(points) - 1, None] for i in range(4))
    t = np.arange(PIECES)[:, None] / PIECES  # [pieces, 1]
    inside = (
        2 * p1
        + (p2 - p0) * t
        + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
        + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    ) / 2  # [intervals, pieces, 2]
    return np.vstack([inside.reshape(-1, 2), points[-1]])


def _small(strokes: list[np.ndarray]) -> list[np.ndarray]:
    return [stroke * SMALL_SCALE for stroke in strokes]


def _tailed(strokes: list[np.ndarray]) -> list[np.ndarray]:
    end = strokes[-1][-1]
    tail = _curve(np.array([end, end + [1.5, 0.8], end + [3.2, -0.2], end + [4, -2]]))
    return [*strokes, tail]


_MODIFIERS = {"small": _small, "tailed": _tailed}
