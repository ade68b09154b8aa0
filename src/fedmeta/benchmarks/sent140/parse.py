"""Sent140 from Stanford's CSV or LEAF's JSON: hashed tokens of tweets, by user.

A tweet without a token, such as one that is only a smiley, is a record all the same:
25 paddings. The paper's counts have such tweets, and dropping them would tell the
model which texts are hard.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedmeta.benchmarks.sent140.stanford import TEST, TRAINING, read_tweets
from fedmeta.benchmarks.sent140.tokens import (
    LENGTH,
    PADDING,
    TokenHashes,
    hash_text,
)
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import elsewhere, of_one_kind, raw_files
from fedmeta.data.leaf import LeafClient, leaf_metadata, leaf_shards, read_leaf
from fedmeta.data.names import alike

log = logging.getLogger(__name__)

FETCH = "python -m fedmeta.benchmarks.sent140.fetch"
SHOWN = 3  # names of files that other data go by
FIELDS = ("id", "date", "query", "user", "text")  # of a record in LEAF's JSON


class _Tweets(NamedTuple):
    """All rows of CSV files, in their order."""

    users: list[str]  # [users] as they first come
    synthetic: bool
    user: np.ndarray  # int32 [n] position in `users`
    label: np.ndarray  # uint8 [n]
    tokens: np.ndarray  # int64 [n, 25]


def find_raw(folder: str | Path) -> list[Path]:
    """The CSV files of a folder, or its LEAF JSON files, by name.

    Raises:
        DataError: when there are none, or both kinds; says what to do.
    """
    return of_one_kind(
        folder,
        [raw_files(folder, ".csv"), leaf_shards(folder)],
        f"no *.csv or *.json files here{elsewhere(folder, '.csv', '.json')}; fetch"
        f" Stanford's with `{FETCH}`, copy a CSV of its six columns there, or LEAF's"
        " data/sent140/data/all_data",
    )


def parse(
    files: Sequence[Path],
    *,
    lowercase: bool,
    min_records: int = 1,
    name: str | None = None,
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Sent140, or other texts of its layout, as packed clients.

    Rows of a CSV come in any order, so all are read before the first client: some 200
    bytes a tweet and 200 a user. LEAF's JSON is streamed.

    Args:
        files: all CSV or all LEAF JSON.
        lowercase: whether tokens are lower-cased before they are hashed.
        min_records: leave out users of fewer tweets. Nearly all of Sent140's 660,120
            users have fewer than the 25 that any study asks for; packed, they would
            be most of the file, of the time to open it and of a frozen embedding.
        name: what real data are called in reports; None: "Sent140" is right for
            Stanford's own files and LEAF's, and other CSVs go by their file name.

    Returns:
        clients: `tokens` int64 [n, 25] and `label` uint8 [n] of each user, for CSV in
            the order of users' names and each user's tweets in the order of the files.
        metadata: `benchmark`, `synthetic`, `source`, `lowercase` and, where the data
            are not the benchmark's own, `name`.

    Raises:
        DataError: for anything of another form; names file, line or client, remedy.
    """
    files = [Path(file) for file in files]
    if any(file.suffix == ".json" for file in files):
        clients = _leaf_clients(files, lowercase, min_records)
        metadata = leaf_metadata(files, "sent140")
    else:
        tweets = _read_all(files, lowercase)
        clients = _csv_clients(tweets, min_records)
        metadata = _csv_metadata(files, tweets.synthetic)
    metadata["lowercase"] = "true" if lowercase else "false"
    if name is not None:
        if metadata["synthetic"] == "true":
            raise DataError(
                f"{files[0]}: is synthetic and cannot be called {name!r}; set name to "
                "null"
            )
        metadata["name"] = name
    return _somebody(clients, files[0], min_records), metadata


def _somebody(
    clients: Iterator[ClientRecords], path: Path, min_records: int
) -> Iterator[ClientRecords]:
    """The clients; a DataError where there are none."""
    first = next(clients, None)
    if first is None:
        raise DataError(
            f"{path}: nobody has {min_records} tweets or more; lower raw.min_records,"
            " or add the files that are missing"
        )
    yield first
    yield from clients


def _read_all(files: Sequence[Path], lowercase: bool) -> _Tweets:
    numbers: dict[str, int] = {}
    hashes = TokenHashes()
    # Arrays of bare numbers: lists of objects would take ten times the memory.
    user, label, tokens = array("i"), array("B"), array("q")
    synthetic = None
    for path in files:
        for tweet in read_tweets(path):
            if synthetic not in (None, tweet.synthetic):
                raise DataError(
                    f"{path}: synthetic and real tweets together; keep them in "
                    "different folders"
                )
            synthetic = tweet.synthetic
            user.append(numbers.setdefault(tweet.user, len(numbers)))
            label.append(tweet.label)
            tokens.extend(hash_text(tweet.text, hashes, lowercase))
    tweets = _Tweets(
        list(numbers),
        bool(synthetic),
        np.frombuffer(user, np.int32),
        np.frombuffer(label, np.uint8),
        np.frombuffer(tokens, np.int64).reshape(-1, LENGTH),
    )
    _log_empty(int((tweets.tokens[:, 0] == PADDING).sum()), len(tweets.label))
    for note in alike(numbers, "users"):
        log.warning("%s", note)
    return tweets


def _csv_clients(tweets: _Tweets, min_records: int) -> Iterator[ClientRecords]:
    by_name = sorted(range(len(tweets.users)), key=tweets.users.__getitem__)
    rank = np.empty(len(by_name), dtype=np.int32)
    rank[by_name] = np.arange(len(by_name))
    rows = np.argsort(rank[tweets.user], kind="stable")
    stops = np.cumsum(np.bincount(rank[tweets.user])).tolist()
    for number, start, stop in zip(by_name, [0, *stops], stops, strict=False):
        if stop - start >= min_records:
            own = rows[start:stop]
            columns = {"tokens": tweets.tokens[own], "label": tweets.label[own]}
            yield ClientRecords(tweets.users[number], columns)


def _csv_metadata(files: Sequence[Path], synthetic: bool) -> dict[str, str]:
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    names = ", ".join(file.name for file in files[:SHOWN]) + more
    metadata = {"benchmark": "sent140", "synthetic": "false"}
    if synthetic:
        source = "generated tweets, as their column query says"
        return {**metadata, "synthetic": "true", "source": source}
    if {file.name for file in files} <= {TRAINING, TEST}:
        return {**metadata, "source": f"Stanford's {names}"}
    return {**metadata, "source": f"{names}, in Stanford's layout", "name": names}


def _leaf_clients(
    shards: Sequence[Path], lowercase: bool, min_records: int
) -> Iterator[ClientRecords]:
    hashes = TokenHashes()
    empty = total = 0
    for client in read_leaf(shards):
        if len(client.y) < min_records:
            continue
        rows = [hash_text(text, hashes, lowercase) for text in _leaf_texts(client)]
        tokens = np.array(rows, dtype=np.int64).reshape(-1, LENGTH)
        empty += int((tokens[:, 0] == PADDING).sum())
        total += len(tokens)
        columns = {"tokens": tokens, "label": client.labels(2, "0 or 1")}
        yield ClientRecords(client.client_id, columns)
    _log_empty(empty, total)


def _leaf_texts(client: LeafClient) -> list[str]:
    for number, record in enumerate(client.x):
        fields = record if isinstance(record, list) else []
        if len(fields) != len(FIELDS) or not isinstance(fields[-1], str):
            raise client.error(
                f"record {number} is not a tweet; expected [{', '.join(FIELDS)}]: make "
                "the file again with LEAF"
            )
    return [record[-1] for record in client.x]


def _log_empty(empty: int, total: int) -> None:
    if empty:
        log.warning(
            "%d of %d tweets have no token; they are kept as padding", empty, total
        )
