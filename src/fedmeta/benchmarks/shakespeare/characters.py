"""Characters as one byte each."""

from functools import cache
from unicodedata import normalize

import numpy as np

# What decomposition does not turn into ASCII. One character becomes one character,
# so that windows of LEAF's JSON keep their length.
_FOLDED = {
    "‘": "'",
    "’": "'",
    "‚": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
    "‐": "-",
    "‑": "-",
    "‒": "-",
    "–": "-",
    "—": "-",
    "―": "-",
    "æ": "e",
    "œ": "e",
    "Æ": "E",
    "Œ": "E",
}


def fold(text: str) -> str:
    """Typographic quotes, dashes and accented letters as ASCII, the rest as spaces."""
    if text.isascii():
        return text
    return text.translate({ord(c): _ascii(c) for c in set(text) if not c.isascii()})


def codes(text: str) -> np.ndarray:
    """[c] uint8 codes of a folded text."""
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)


@cache
def _ascii(character: str) -> str:
    first = _FOLDED.get(character) or normalize("NFKD", character)[0]
    return first if first.isascii() else " "
