"""Plays in the layout of 1994, in a language that is drawn from nothing but a seed.

All roles share a lexicon; each has habits. An accent says how the role speaks each
vowel and each consonant of the lexicon, a few words are favourites, and sentences close
with the role's own oath. What comes next is therefore half grammar, which any role
teaches, and half habit, which a role's own lines alone tell: adapting to a role pays. A
stand-in for tests, demos and machines without the data: its accuracies say nothing
about Shakespeare.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge

from fedmeta.benchmarks.shakespeare.parse import SYNTHETIC
from fedmeta.benchmarks.shakespeare.roles import BYLINE, END_OF_PLAY, LEAST_ROLES
from fedmeta.benchmarks.shakespeare.windows import WINDOW
from fedmeta.core.bounds import Count, Seed
from fedmeta.data.errors import check_range
from fedmeta.data.files import whole_file

# The lexicon's letters, and the ways in which a role may say each.
VOWELS = {"a": "aeiou", "i": "aeiou", "u": "aeiou"}
CONSONANTS = {"t": "td", "s": "sz", "p": "pb", "k": "kg", "l": "l", "n": "n", "m": "m"}
WORDS = 24  # of the lexicon
OATHS = 8
FAVOURITES = 5
LIKED = 0.4  # share of a role's words that are favourites
SENTENCE = (4, 8)  # words, the oath apart
LINE = 30  # characters: short, so that a short role has its three lines
SPEECH = (1, 4)  # lines


class Habits(NamedTuple):
    """How a role speaks."""

    accent: dict[str, str]  # letter of the lexicon -> as it is spoken
    oath: str
    favourites: list[str]


def write_sample(
    folder: Path,
    plays: Count = 16,
    roles_per_play: Annotated[int, Ge(LEAST_ROLES)] = 5,
    windows_per_role: tuple[Count, Count] = (200, 600),
    seed: Seed = 0,
) -> list[Path]:
    """Write a text of generated plays; the same arguments give the same bytes.

    Its first line, which the layout drops, says that it is generated. It is put in
    place only when it is complete.

    Args:
        folder: made when missing; a text of the same name is replaced.
        plays: number of plays.
        roles_per_play: clients of each, 2 or more: with one it is no play.
        windows_per_role: least and greatest number of windows, both possible.
        seed: of the language and the roles.

    Returns:
        The path of the text.

    Raises:
        DataError: for an empty range.
    """
    low, high = windows_per_role
    check_range("windows_per_role", low, high)
    note = (
        f"{SYNTHETIC}: written by fedmeta.benchmarks.shakespeare.synthetic, no line of "
        f"Shakespeare (seed {seed}, {plays} plays of {roles_per_play} roles of {low} "
        f"to {high} windows)"
    )
    # The layout takes the first byline for that of the sonnets.
    head = f'Each play below says "{BYLINE}" because the layout asks for it.'
    path = Path(folder) / "synthetic.txt"
    with whole_file(path) as file:
        file.write(f"{note}\n{head}\n\n\n\n".encode("ascii"))
        for play in range(plays):
            for line in _play(seed, play, roles_per_play, windows_per_role):
                file.write(f"{line}\n".encode("ascii"))
    return [path]


def lexicon(seed: int) -> tuple[list[str], list[str]]:
    """The words and oaths of a seed, before any accent."""
    rng = np.random.default_rng(seed)
    vowels, consonants = list(VOWELS), list(CONSONANTS)
    words: dict[str, None] = {}  # in order, each once
    while len(words) < WORDS + OATHS:
        syllables = int(rng.integers(1, 4))
        pairs = zip(
            rng.choice(consonants, syllables),
            rng.choice(vowels, syllables),
            strict=True,
        )
        words["".join(c + v for c, v in pairs) + rng.choice(consonants)] = None
    return list(words)[:WORDS], list(words)[WORDS:]


def draw_habits(
    words: Sequence[str], oaths: Sequence[str], rng: np.random.Generator
) -> Habits:
    """A role's way to speak the words of a lexicon."""
    ways = VOWELS | CONSONANTS
    return Habits(
        accent={letter: rng.choice(list(ways[letter])) for letter in ways},
        oath=rng.choice(oaths),
        favourites=rng.choice(words, FAVOURITES, replace=False).tolist(),
    )


def speak(
    words: Sequence[str], habits: Habits, length: int, rng: np.random.Generator
) -> str:
    """Sentences of a role, cut to a length."""
    text, accent = "", str.maketrans(habits.accent)
    while len(text) < length:
        count = rng.integers(SENTENCE[0], SENTENCE[1] + 1)
        # the k-th word comes with a probability of about 1 / k
        ranks = np.minimum(WORDS ** rng.random(count), WORDS - 1).astype(int)
        liked = rng.random(count) < LIKED
        chosen = [
            rng.choice(habits.favourites) if is_liked else words[rank]
            for rank, is_liked in zip(ranks, liked, strict=True)
        ]
        sentence = " ".join([*chosen, habits.oath])
        text += sentence.translate(accent).capitalize() + ". "
    text = text[:length]
    return text[:-1] + "." if text.endswith(" ") else text


def _play(seed: int, play: int, roles: int, windows: tuple[int, int]) -> Iterator[str]:
    """The lines of a play: title, byline, speeches in turn, end."""
    words, oaths = lexicon(seed)
    rng = np.random.default_rng([seed, play])
    speeches = {}
    for role in range(roles):
        habits = draw_habits(words, oaths, rng)
        size = int(rng.integers(windows[0], windows[1] + 1))
        # with the space that ends a role's text there are `size` windows
        text = speak(words, habits, size + WINDOW - 1, rng)
        speeches[f"ROLE {_letters(role)}"] = _speeches(text, rng)
    yield from (f"SYNTHETIC PLAY {_letters(play)}", "", BYLINE, "", "ACT I. SCENE 1.")
    while speeches:
        name = rng.choice(list(speeches))
        first, *rest = speeches[name].pop(0)
        yield f"  {name}. {first}"
        yield from (f"    {line}" for line in rest)
        if not speeches[name]:
            del speeches[name]
    yield from ("", END_OF_PLAY, "", "", "")


def _speeches(text: str, rng: np.random.Generator) -> list[list[str]]:
    lines = textwrap.wrap(text, LINE)
    speeches = []
    while lines:
        count = int(rng.integers(SPEECH[0], SPEECH[1] + 1))
        speeches.append(lines[:count])
        lines = lines[count:]
    return speeches


def _letters(number: int) -> str:
    """A, B ... Z, BA and so on: names in the layout have no digits."""
    first, last = divmod(number, 26)
    return (_letters(first) if first else "") + chr(ord("A") + last)
