"""Which clients train, validate and test; which of a client's records are support.

Both divisions are made once, from a seed, and shared by all algorithms (Chen et al.
2018, section 4.1: "the division ... remain the same for all methods").
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import pyarrow as pa

from fedmeta.data.encoding import Labels
from fedmeta.data.errors import DataError, check_known
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.ids import Ids
from fedmeta.late import pd

SPLITS = ("train", "validation", "test")
AUTO = "auto"
ORDER = pa.large_list(pa.int32())  # a client's record numbers, all in one array
# (number of records, their labels, random numbers) -> a permutation. Its prefix of
# any length is a support set, so a larger support fraction contains a smaller one.
Order = Callable[[int, np.ndarray | None, np.random.Generator], np.ndarray]
Split = dict[str, list[str] | str]  # client ids by the name of a split, "checksum"


def split_clients(
    client_ids: Sequence[str], fractions: Sequence[float], seed: int
) -> Split:
    """Divide clients at random; the order in which they are given does not matter.

    Args:
        client_ids: at least one for each split.
        fractions: of training and of validation clients, both rounded down; the rest,
            a third fraction if one is given, tests.
        seed: of the permutation.

    Returns:
        "train", "validation", "test": client ids; "checksum": SHA-256 of the three.

    Raises:
        DataError: for impossible fractions or a split left empty.
    """
    wanted = list(fractions)
    inside = all(0 < fraction < 1 for fraction in wanted)
    given = sum(wanted)
    whole = math.isclose(given, 1) if len(wanted) == 3 else given < 1
    if len(wanted) not in (2, 3) or not inside or not whole:
        raise DataError(
            f"client fractions {wanted}: expected train, validation and test, each "
            "inside (0, 1), that sum to 1, such as [0.8, 0.1, 0.1]"
        )
    count = len(client_ids)
    train, validation, test = _sizes(count, wanted)
    if min(train, validation, test) < 1:
        least = next(n for n in itertools.count(3) if min(_sizes(n, wanted)) > 0)
        raise DataError(
            f"{count} clients cannot be split {wanted}: a split would be empty;"
            f" expected {least} or more: add data, lower selection.min_records, or give"
            " each split more as partition.clients, such as [0.4, 0.3, 0.3]"
        )
    ids = sorted(client_ids)
    order = [ids[row] for row in np.random.default_rng(seed).permutation(count)]
    split: Split = {
        "train": order[:train],
        "validation": order[train : train + validation],
        "test": order[train + validation :],
    }
    split["checksum"] = _split_checksum(split)
    return split


def _sizes(count: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    # Rounding may turn 0.8 * 10 into 7.999..., which is 8 here.
    train, validation = (math.floor(f * count + 1e-9) for f in fractions[:2])
    return train, validation, count - train - validation


def partition_examples(
    clients: pd.DataFrame,
    support_fraction: float,
    seed: int,
    strategy: str = "random",
    gap: int = 0,
    dataset: FederatedDataset | None = None,
    labels: Labels | None = None,
    query_fraction: float | None = None,
    min_query: int = 1,
) -> pd.DataFrame:
    """Divide each client's records into support and query, at least one in each.

    Args:
        clients: `client_id`, `start`, `stop`, a row a client.
        support_fraction: p in (0, 1); floor(p n) of n records are support.
        seed: with the client's id, of its permutation, which does not depend on p or
            on the other clients.
        strategy: a name in `ORDERS`, or `AUTO`: "order" where the data set's records
            are in order of time, else "random".
        gap: records left out between support and query where these are "in order":
            there, neighbours may share content.
        dataset: where `stratified` finds the records,
        labels: and their classes.
        query_fraction: the last so much is query, whatever p; what lies between is
            left out. None: all but the support.
        min_query: a client to whom the gap leaves fewer query records is left out.

    Returns:
        `client_id`, `num_support`, `num_query` and `order`, int32 record numbers
        counted from `start`: those of the support set, then those of the query.

    Raises:
        DataError: for fractions outside (0, 1) or of a sum above 1, a client of fewer
            than two records, an unknown strategy, a gap where records are not in
            order, or one that is too large for every client.
    """
    if not 0 < support_fraction < 1:
        raise DataError(
            f"support_fraction {support_fraction}: expected a number inside (0, 1), so "
            "that support and query both get records; the paper has 0.2, 0.5 and 0.9"
        )
    left = 1 if query_fraction is None else 1 - query_fraction
    if not 0 < left <= 1 or query_fraction == 0 or support_fraction > left + 1e-9:
        raise DataError(
            f"support_fraction {support_fraction} and query_fraction {query_fraction}: "
            "expected numbers inside (0, 1) that sum to 1 at most"
        )
    if strategy == AUTO:
        strategy = "order" if dataset is not None and dataset.ordered else "random"
    check_known(strategy, [*sorted(ORDERS), AUTO], "partition strategy")
    if strategy == "stratified" and (dataset is None or labels is None):
        raise DataError("strategy 'stratified' needs the data set and its labels")
    if gap and strategy != "order":
        raise DataError(
            f"gap {gap} with partition strategy {strategy!r}: only records in order "
            "have a place for it; set gap to 0, or strategy to 'order'"
        )
    sizes = (clients["stop"] - clients["start"]).to_numpy()
    if (sizes < 2).any():
        small = np.argmax(sizes < 2)
        raise DataError(
            f"client {clients['client_id'].iloc[small]!r} has {sizes[small]} records;"
            " support and query need one each: raise min_records to 2 or more"
        )
    before = support_fraction if query_fraction is None else left
    support, query = _set_sizes(sizes, support_fraction, before, gap)
    if gap:
        stays = sizes - support - gap >= min_query
        if not stays.any():
            raise DataError(
                f"gap {gap} leaves fewer than {min_query} query records to each of"
                f" {len(clients)} clients, the largest of which has {sizes.max()}"
                f" records, {support.max()} of them support; lower gap, min_query or"
                " support_fraction, or keep larger clients"
            )
        clients, sizes = clients[stays], sizes[stays]
        support, query = support[stays], query[stays]
    bounds = np.concatenate([[0], np.cumsum(support + query)])
    numbers = np.empty(bounds[-1], dtype=np.int32)
    for row, client in enumerate(clients.itertuples()):
        classes = None
        if dataset is not None and labels is not None:
            records = np.arange(client.start, client.stop)
            classes = labels(dataset.columns(client.client_id), records)
        rng = np.random.default_rng([seed, crc32(client.client_id.encode())])
        order = ORDERS[strategy](sizes[row], classes, rng)
        used = order[: support[row]], order[sizes[row] - query[row] :]
        numbers[bounds[row] : bounds[row + 1]] = np.concatenate(used)
    lists = pa.LargeListArray.from_arrays(bounds, numbers).cast(ORDER)
    columns = {
        "client_id": clients["client_id"].reset_index(drop=True),
        "num_support": support,
        "num_query": query,
        "order": pd.Series(lists, dtype=pd.ArrowDtype(ORDER)),
    }
    return pd.DataFrame(columns, copy=False)


def _set_sizes(
    sizes: np.ndarray, support_fraction: float, before: float, gap: int
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [clients] records of the support and of the query sets.

    Args:
        sizes: [clients] records.
        support_fraction: of them, the first, are support.
        before: fraction that lies before the query set.
        gap: records left out between the two.
    """

    def first(fraction: float) -> np.ndarray:
        # a hair above, since 0.2 * 35 may come out as 6.999...
        return np.floor(fraction * sizes + 1e-9).astype(np.int64)

    support = first(support_fraction).clip(1, sizes - 1)
    query = (sizes - first(before)).clip(1, sizes - support)
    return support, np.minimum(query, (sizes - support - gap).clip(1))


def record_orders(partition: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The column `order` of a partition as two arrays.

    Returns:
        numbers: int32, of all clients one after another.
        bounds: int64 [clients + 1]; row r has numbers[bounds[r] : bounds[r + 1]].
    """
    lists = pa.array(partition["order"], ORDER)
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    return lists.values.to_numpy(), lists.offsets.to_numpy()


def validate_split(split: Split) -> None:
    """Refuse a split with an empty side, a shared client or a wrong checksum."""
    for name in SPLITS:
        if not split.get(name):
            raise DataError(f"client split: no {name} clients; make the split again")
    twice = Ids(itertools.chain.from_iterable(split[n] for n in SPLITS)).repeated()
    if twice is not None:
        places = [n for n in SPLITS for client in split[n] if client == twice]
        raise DataError(
            f"client split: client {twice!r} is in {' and '.join(places)}; make the"
            " split again"
        )
    if split.get("checksum") != _split_checksum(split):
        raise DataError("client split: changed after it was made; make it again")


def validate_partition(frame: pd.DataFrame) -> None:
    """Refuse a partition with an empty side or records that are on both or none."""
    again = "make the partition again"
    if frame.empty:
        raise DataError(f"partition: no clients; {again}")
    twice = Ids(frame["client_id"]).repeated()
    if twice is not None:
        raise DataError(f"partition: client {twice!r} comes twice; {again}")
    numbers, bounds = record_orders(frame)
    sides = (frame[name].to_numpy() for name in ("num_support", "num_query"))
    for row, (support, query) in enumerate(zip(*sides, strict=True)):
        if min(support, query) < 1:
            raise DataError(
                f"partition: client {frame['client_id'].iloc[row]!r} has {support}"
                f" support and {query} query records; each side needs one: {again}"
            )
        order = numbers[bounds[row] : bounds[row + 1]]
        wanted = support + query
        if len(order) != wanted or len(np.unique(order)) != wanted or order.min() < 0:
            raise DataError(
                f"partition: client {frame['client_id'].iloc[row]!r}: support and"
                f" query overlap, or are not the {wanted} records that they should be;"
                f" {again}"
            )


def checksum(frame: pd.DataFrame) -> str:
    """SHA-256 of a table's names and values, arrays in cells included."""
    digest = hashlib.sha256()
    for name in frame.columns:
        digest.update(f"|{name}|".encode())
        for value in frame[name]:
            digest.update(
                json.dumps(value, default=lambda held: held.tolist()).encode() + b"\n"
            )
    return digest.hexdigest()


def _split_checksum(split: Split) -> str:
    digest = hashlib.sha256()
    # In pieces: the text of many ids takes more memory than they do.
    for piece in json.JSONEncoder().iterencode([split[name] for name in SPLITS]):
        digest.update(piece.encode())
    return digest.hexdigest()


def _stratified(
    size: int, labels: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Every prefix holds about the same share of each class.

    The k-th of m records of a class, in random order, is placed at (k + u) / m with
    u uniform, so a class of one record lands anywhere: none is dropped.
    """
    place = np.empty(size)
    for label in np.unique(np.asarray(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + rng.random(len(rows))) / len(rows)
    return np.argsort(place, kind="stable")


ORDERS: dict[str, Order] = {
    "random": lambda size, labels, rng: rng.permutation(size),
    "stratified": _stratified,
    "order": lambda size, labels, rng: np.arange(size),
}
