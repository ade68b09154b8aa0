"""The roles of a text in the layout of Project Gutenberg's edition of 1994.

LEAF's preprocessing (Caldas et al., 2018), re-implemented from its rules: a line
"by William Shakespeare" starts a play, whose title stands above it; two spaces, a
name and a full stop start a speech; four spaces continue it; any other line is passed
over and leaves the speaker as he was. One play is set without the indents and has
rules of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BYLINE = "by William Shakespeare"
END_OF_PLAY = "THE END"
LAST_LINE = 124_195  # of the whole edition, from 1; what follows is no play
LEAST_LINES = 3  # of a role
LEAST_ROLES = 2  # of a play

_SPEAKER = re.compile(r"^  ([a-zA-Z][a-zA-Z ]*)\. (.*)")
_CONTINUED = re.compile(r"^    (.*)")
_FLAT_PLAY = "THE COMEDY OF ERRORS"  # the one without indents
_FLAT_SPEAKER = re.compile(r"^([a-zA-Z][a-zA-Z ]*)\. (.*)")
_FLAT_CONTINUED = re.compile(r"^(.*)")
_SPACES = re.compile(r"  +")
_NOT_WORD = re.compile(r"\W")


class Role(NamedTuple):
    """What one person says in one play."""

    play: str
    name: str
    lines: list[str]

    @property
    def client_id(self) -> str:
        """LEAF's name of the client."""
        return _NOT_WORD.sub("_", f"{self.play}_{self.name}")

    @property
    def text(self) -> str:
        """The lines one after another, with single spaces between words."""
        return _SPACES.sub(" ", "".join(line + " " for line in self.lines))


class Extract(NamedTuple):
    """The roles of a text, and what became of the rest of its plays."""

    roles: list[Role]  # of more than two lines, in order of appearance
    pairs: int  # of play and role, those of one or two lines included
    discarded: int  # lines with text that nobody says


def extract_roles(text: str) -> Extract:
    """The roles of a text in the layout of 1994; none if it is in another.

    Args:
        text: the edition, or plays in its layout. Its first line is dropped, and
            all up to five lines before the second `BYLINE`: contents and sonnets.
    """
    lines = text.split("\n")[1:LAST_LINE]
    bylines = [number for number, line in enumerate(lines) if BYLINE in line]
    if len(bylines) < 2:
        return Extract([], 0, 0)
    return gather(_speeches(lines[max(0, bylines[1] - 5) :]))


def unfinished(text: str) -> str:
    """What a text in the layout of 1994 lacks when it is cut short, or nothing."""
    last_play = text.rfind(BYLINE)
    finished = f"\n{END_OF_PLAY}" in text[last_play:]
    return "" if finished else f'"{END_OF_PLAY}" after the last play'


def gather(speeches: Iterator[tuple[str, str | None, str]]) -> Extract:
    """Put together the lines of each role; leave out what is no play and no role.

    Args:
        speeches: play, speaker (None for a line that nobody says) and line.
    """
    plays: dict[str, dict[str, Role]] = {}
    discarded: Counter[str] = Counter()
    for play, name, line in speeches:
        if name is None:
            discarded[play] += 1
            continue
        who = plays.setdefault(play, {})
        who.setdefault(name, Role(play, name, [])).lines.append(line)
    kept = {play: who for play, who in plays.items() if len(who) >= LEAST_ROLES}
    pairs = [role for roles in kept.values() for role in roles.values()]
    roles = [role for role in pairs if len(role.lines) >= LEAST_LINES]
    return Extract(roles, len(pairs), sum(discarded[play] for play in kept))


def _speeches(lines: Sequence[str]) -> Iterator[tuple[str, str | None, str]]:
    play = ""
    name: str | None = None
    for number, line in enumerate(lines):
        if BYLINE in line:
            play, name = _title(lines, number), None
            continue
        flat = play == _FLAT_PLAY
        speech = (_FLAT_SPEAKER if flat else _SPEAKER).match(line)
        continued = (_FLAT_CONTINUED if flat else _CONTINUED).match(line)
        if flat and speech and speech[1].upper().startswith("ACT "):
            name = None
        elif speech:
            name = speech[1].upper()  # one spelling of "Sir Toby" and "SIR TOBY"
            yield play, name, speech[2]
        elif name and flat and line.startswith("<"):  # the licence between scenes
            name = None
        elif name and continued:
            yield play, name, continued[1]
        elif play and line.strip():
            yield play, None, line


def _title(lines: Sequence[str], byline: int) -> str:
    """The nearest line with text, from two to six above, else the seventh."""
    for above in range(2, 7):
        if byline >= above and lines[byline - above].strip():
            return lines[byline - above].strip()
    return lines[max(0, byline - 7)].strip()
