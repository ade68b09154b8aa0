"""Synthetic tweets in Stanford's layout, of invented words drawn from a seed.

What a mood word says depends on who says it. Plain words mean the same to all; each of
two families of loaded words is meant ironically, the other way round, by some users.
So a model without adaptation is right about plain words and can only bet on the
majority for the rest, and a few tweets tell an ironic user. Users also differ in topics
and in how often they are content. Accuracies say nothing about Sent140.
"""

import csv
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedmeta.benchmarks.sent140.stanford import SYNTHETIC
from fedmeta.core.bounds import Count, Seed
from fedmeta.data.errors import check_range
from fedmeta.data.files import whole_file

FILE = "synthetic_tweets.csv"
IRONIC = 0.4  # share of users that turn a family of loaded words around
NOISE = 0.04  # share of tweets whose mood words say nothing
MOODS = 4  # mood words in a tweet
FAMILIES = ("plain", "loaded", "loaded too")
FAMILY_SHARES = (0.2, 0.4, 0.4)  # of tweets
DATE = "Mon Jan 01 00:00:00 UTC 2001"


class _Words(NamedTuple):
    """The invented language, the same whatever the seed of the users."""

    moods: np.ndarray  # str [families, 2 signs, 6]
    topics: np.ndarray  # str [topics, 12]
    fillers: np.ndarray  # str [24]


def user_tweets(
    seed: int, user: int, tweets: tuple[int, int] = (25, 80)
) -> tuple[list[str], np.ndarray]:
    """All tweets of one user, a function of its arguments alone.

    Args:
        seed: of the whole population.
        user: index of the user, from 0.
        tweets: least and greatest number of tweets, both possible.

    Returns:
        texts and labels uint8 [n], 1 for content.
    """
    rng = np.random.default_rng([seed, user])
    words = _language()
    ironic = np.array([False, *(rng.random(2) < IRONIC)])  # plain words never are
    topics = rng.choice(len(words.topics), 2, replace=False)
    content = rng.uniform(0.35, 0.65)
    n = int(rng.integers(tweets[0], tweets[1] + 1))
    labels = (rng.random(n) < content).astype(np.uint8)
    families = rng.choice(len(FAMILIES), n, p=FAMILY_SHARES)
    signs = labels ^ ironic[families] ^ (rng.random(n) < NOISE)
    texts = []
    for family, sign in zip(families, signs, strict=True):
        moods = rng.choice(words.moods[family, int(sign)], MOODS)
        about = rng.choice(words.topics[rng.choice(topics)], rng.integers(3, 7))
        rest = rng.choice(words.fillers, rng.integers(3, 9))
        text = rng.permutation(np.concatenate([moods, about, rest]))
        texts.append(" ".join([*text[:-1], text[-1] + rng.choice([".", "!", ""])]))
    return texts, labels


def write_sample(
    folder: Path,
    users: Count = 200,
    tweets_per_user: tuple[Count, Count] = (25, 80),
    seed: Seed = 0,
) -> list[Path]:
    """Write a CSV of synthetic tweets; the same arguments give the same bytes.

    The column `query` of every row says SYNTHETIC. The file is put in place only when
    it is complete.

    Args:
        folder: made when missing.
        users: number of clients, "synthetic_0000" and so on.
        tweets_per_user: least and greatest number of tweets of a user.
        seed: of the whole population.

    Returns:
        The path of the file.

    Raises:
        DataError: for an empty range.
    """
    check_range("tweets_per_user", *tweets_per_user)
    path = Path(folder) / FILE
    with whole_file(path) as binary:
        file = io.TextIOWrapper(binary, "latin-1", newline="")
        rows = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for user in range(users):
            rows.writerows(_rows(seed, user, tweets_per_user))
        file.detach()  # flushed, and left open for `whole_file`
    return [path]


def _rows(seed: int, user: int, tweets: tuple[int, int]) -> Iterator[tuple]:
    texts, labels = user_tweets(seed, user, tweets)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
        name = f"synthetic_{user:04d}"
        yield 4 * label, f"{user:04d}{number:04d}", DATE, SYNTHETIC, name, text


@cache
def _language() -> _Words:
    rng = np.random.default_rng(140)
    onsets, vowels = list("bdfgklmnprstvz"), list("aeiou")
    syllables = np.array([o + v for o in onsets for v in vowels])
    shapes = [(len(FAMILIES), 2, 6), (10, 12), (24,)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    # distinct first two syllables, so that no word is another
    pairs = rng.choice(len(syllables) ** 2, sum(sizes), replace=False)
    first, second = np.divmod(pairs, len(syllables))
    third = rng.choice(syllables, len(pairs))
    words = np.strings.add(np.strings.add(syllables[first], syllables[second]), third)
    parts = np.split(words, np.cumsum(sizes)[:-1])
    return _Words(*(p.reshape(s) for p, s in zip(parts, shapes, strict=True)))
