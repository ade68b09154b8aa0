"""Names of people and things as outside files have them."""

import re
import unicodedata
from collections.abc import Collection

import numpy as np

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
    listed = list(names)
    # Numbers in place of texts: there may be a million names.
    keys = np.fromiter((hash(_plain(name)) for name in listed), np.int64, len(listed))
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[place] > 1)
    if not len(again):
        return []
    first, second, *_ = np.flatnonzero(keys == keys[again[0]])
    return [
        f"{len(again):,} {what} differ from another in case, spaces or the form of"
        f" characters or numbers alone, such as {listed[first]!r} and"
        f" {listed[second]!r}: they count as different; where they are the same, give"
        " them one name in the raw files"
    ]


def _plain(name: str) -> str:
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    plain = " ".join(name.casefold().split())
    whole = _WHOLE.fullmatch(plain)
    return whole[1] if whole else plain
