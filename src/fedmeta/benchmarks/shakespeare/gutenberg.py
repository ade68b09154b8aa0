"""The roles of a text in the layout of Project Gutenberg's present edition.

The public-domain text #100: between two marker lines, a list of contents in capitals,
each title of which stands again above its work. A line in capitals with a full stop
names the speaker; the lines below are his, until the next speaker, the heading of an
act or a scene, or a line that is a stage direction: in brackets, in underscores, or
"Enter ..." set in by a space. What follows a direction is nobody's until a speaker is
named again. Directions within a line are taken out of it.

A text of a single play, such as #1524, has the same layout but for its contents, which
list acts and scenes; its title is its first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from fedmeta.benchmarks.shakespeare.roles import Extract, gather

START = re.compile(
    r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE
)
END = re.compile(
    r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE
)

_PERSONS = ("dramatis person", "persons represented")
_HEADING = re.compile(r"(?:ACT|SCENE)\b|(?:THE )?(?:PROLOGUE|EPILOGUE|INDUCTION)$")
_SPEAKER = re.compile(r"([A-Z][A-Z' ,&-]*)\.$")
_ENTRANCE = re.compile(r"\s+(?:Enter|Re-enter)\b")
_DIRECTION = re.compile(r"\[[^\[\]]*\]")  # over several lines, too
_UNDERSCORED = re.compile(r"_[^_]*_\.?$")


def extract_current(text: str) -> Extract:
    """The roles of a text in the present layout; none if it is in another.

    Args:
        text: with quotes and accents folded to ASCII.
    """
    return gather(_speeches(_body(text)))


def unfinished_current(text: str) -> str:
    """What a text in the present layout lacks when it is cut short, or nothing."""
    return "" if END.search(text) else "the line that begins *** END OF"


def _body(text: str) -> list[str]:
    start, end = START.search(text), END.search(text)
    if not start:
        return []
    return text[start.end() : end.start() if end else len(text)].split("\n")


def _speeches(lines: Sequence[str]) -> Iterator[tuple[str, str | None, str]]:
    titles, first = _contents(lines)
    starts = [i for i in range(first, len(lines)) if lines[i].strip() in titles]
    if any(_HEADING.match(title) for title in titles):
        starts = [next(i for i, line in enumerate(lines) if line.strip())]
    for start, stop in pairwise([*starts, len(lines)]):
        play = lines[start].strip()
        text = _DIRECTION.sub("[]", "\n".join(lines[start + 1 : stop]))
        for name, line in _play_speeches(text.split("\n")):
            yield play, name, line


def _contents(lines: Sequence[str]) -> tuple[set[str], int]:
    """What is listed under "Contents", and the line where the first work starts.

    These are titles, or the acts of a single play. The list ends where one of them
    comes again.
    """
    titles: set[str] = set()
    stripped = [line.strip() for line in lines]
    if "Contents" not in stripped:
        return titles, len(lines)
    for number in range(stripped.index("Contents") + 1, len(lines)):
        line = stripped[number]
        if line in titles:
            return titles, number
        if line:
            titles.add(line)
    return titles, len(lines)


def _play_speeches(lines: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Speaker (None for nobody) and line, from the first heading of an act on.

    A play has a list of contents of its own, with headings, and one of its persons,
    in which a name in capitals may end with a full stop: it begins below both.
    """
    begun = not any(line.strip().casefold().startswith(_PERSONS) for line in lines)
    name: str | None = None
    headed = False
    for line in lines:
        bare = line.strip()
        if not begun:
            begun = bare.casefold().startswith(_PERSONS)
        elif _HEADING.match(bare):
            headed, name = True, None
        elif headed and bare:
            said = _spoken(line)
            speaker = _SPEAKER.match(said)
            if speaker:
                name = speaker[1]
            elif said:
                yield name, said
            else:
                name = None


def _spoken(line: str) -> str:
    """A line without its stage directions, empty when it is nothing else."""
    bare = line.strip()
    if _ENTRANCE.match(line) or _UNDERSCORED.match(bare):
        return ""
    return bare.replace("[]", "").replace("_", "").strip()
