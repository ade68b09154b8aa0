"""Names of people and things as outside files have them."""

import re
import unicodedata
from collections.abc import Collection, Sequence

import numpy as np

SHOWN = 20  # of a list in a message
_FLOAT = re.compile(r"-?\d+\.0")
_WHOLE = re.compile(r"(\d+)\.0+")  # 7.0, as pandas writes 7 beside a missing value


def alike(names: Collection[str], what: str) -> list[str]:
    """A note on names that differ in spelling alone, if there are any.

    They stay apart, since nobody but the data's owner knows whether they are the same.

    Args:
        names: all different.
        what: they are names of, such as "users".

    Returns:
        No or one sentence that counts them and names the first two.
    """
    known = list(names)
    # Numbers in place of texts: there may be a million names.
    keys = np.fromiter((hash(_plain(name)) for name in known), np.int64, len(known))
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[place] > 1)
    if not len(again):
        return []
    first, second, *_ = np.flatnonzero(keys == keys[again[0]])
    return [
        f"{len(again):,} {what} differ from another in case, spaces or the form of"
        f" characters or numbers alone, such as {known[first]!r} and"
        f" {known[second]!r}: they count as different; where they are the same, give"
        " them one name in the raw files"
    ]


def listed(names: Sequence[object], count: int = SHOWN) -> str:
    """The first names of a list that may be long, for a message."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(map(repr, names[:count])) + more


def whole_numbers(texts: Sequence[str]) -> list[str]:
    """The texts, but 7 for 7.0 where all are whole numbers written like that.

    >>> whole_numbers(["7.0", "-1.0"]), whole_numbers(["7.0", "1.5"])
    (['7', '-1'], ['7.0', '1.5'])
    """
    if texts and all(map(_FLOAT.fullmatch, texts)):
        return [text.removesuffix(".0") for text in texts]
    return list(texts)


def spelling(text: str) -> str:
    """One spelling of truth values and whole numbers, which programs write otherwise.

    >>> spelling("True"), spelling("7.0"), spelling("Yes")
    ('true', '7', 'Yes')
    """
    if text.lower() in ("true", "false"):
        return text.lower()
    return text.removesuffix(".0") if _FLOAT.fullmatch(text) else text


def _plain(name: str) -> str:
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    plain = " ".join(name.casefold().split())
    whole = _WHOLE.fullmatch(plain)
    return whole[1] if whole else plain
