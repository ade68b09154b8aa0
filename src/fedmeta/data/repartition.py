"""Repartition: the records of all clients, pooled and divided among new users by label.

This gives any labelled data set users of a chosen heterogeneity. A division decides
which records a user holds, and in which order; no record is given twice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedmeta.core.bounds import Count, Number, Rate, Seed
from fedmeta.data.encoding import Labels
from fedmeta.data.errors import DataError, check_known
from fedmeta.data.federated import ClientRecords, FederatedDataset, clients_table
from fedmeta.data.ids import Ids

# (labels [n], options by keyword) -> user id -> the numbers of its records, shuffled
Division = Callable[..., dict[str, np.ndarray]]


def repartition(
    records: FederatedDataset,
    labels: Labels,
    division: str,
    clients: pd.DataFrame | None = None,
    **options: Any,
) -> tuple[Iterator[ClientRecords], dict[str, str]]:
    """Return a stream of new users that hold the records of all clients, and metadata.

    Labels are read at once, in one pass; the other columns of one user at a time, when
    it is asked for.

    Args:
        records: of the clients, which are replaced.
        labels: their classes.
        division: a name in `DIVISIONS`.
        clients: `client_id`, `start`, `stop`: the records that there are to give;
            None: all.
        options: of the division.

    Returns:
        users: a stream of users with the columns of ``records``.
        metadata: that of ``records``.

    Raises:
        DataError: for an unknown division, or records that do not suffice for it.
    """
    check_known(division, sorted(DIVISIONS), "division")
    if clients is None:
        every = np.arange(len(records.client_ids))
        clients = clients_table(records, every, records.num_examples)
    pooled = [
        labels(records.columns(c.client_id), np.arange(c.start, c.stop))
        for c in clients.itertuples()
    ]
    users = DIVISIONS[division](np.concatenate(pooled), **options)
    return _gathered(records, clients, users), records.metadata


def two_kinds(
    labels: np.ndarray,
    *,
    users: Count,
    images: Count,
    classes: Sequence[Number] = tuple(range(10)),
    seed: Seed,
) -> dict[str, np.ndarray]:
    """Half of the users hold five classes evenly, the other half two others unevenly.

    The first half hold ``images`` records (a) of each of the first five classes. The
    i-th of the other half holds a/2 of the first five's class i mod 5 and 2a of the
    last five's class i mod 5. The experiment of Fallah et al. 2020,
    https://arxiv.org/abs/2002.07948, section 5.

    Args:
        labels: [n] classes.
        users: an even number.
        images: a, an even number.
        classes: ten, the first five and the last five.
        seed: of the records drawn, without replacement, and of their order.

    Returns:
        Record numbers by user: "five-000", ... and "one-000", ...

    Raises:
        DataError: for odd numbers, other than ten classes, or a class of too few
            records; says the largest ``images`` that there are enough for.
    """
    for name, number in (("users", users), ("images", images)):
        if number < 2 or number % 2:
            raise DataError(
                f"two_kinds: {name} is {number}; expected an even number from 2 on"
            )
    if len(set(classes)) != 10 or len(classes) != 10:
        raise DataError(
            f"two_kinds: classes are {list(classes)}; expected ten different ones"
        )
    half = users // 2
    single = np.arange(half)
    wanted = np.zeros((users, 10), dtype=np.int64)
    wanted[:half, :5] = images
    wanted[half + single, single % 5] = images // 2
    wanted[half + single, 5 + single % 5] = 2 * images
    _check_two_kinds(labels, classes, wanted, images)
    names = [*_names("five", half), *_names("one", half)]
    return _drawn(labels, classes, wanted, names, np.random.default_rng(seed))


def dirichlet(
    labels: np.ndarray,
    *,
    users: Count,
    alpha: Rate,
    records_per_user: Count | None = None,
    classes: Sequence[Number] | None = None,
    seed: Seed,
) -> dict[str, np.ndarray]:
    """Users whose class shares are drawn from a symmetric Dirichlet distribution.

    Users are served one after another: shares are drawn, then the classes of the
    user's records from these shares, then records without replacement. Where a class
    runs out, the user's remaining records come from the others, in proportion to its
    shares of them; so the last users are further from their draw the more of all
    records are given. After Hsu et al. 2019, https://arxiv.org/abs/1909.06335, with a
    uniform prior.

    Args:
        labels: [n] classes.
        users: how many.
        alpha: parameter of every class; small: few classes a user, large: all alike.
        records_per_user: the same for all; None: as many as there are.
        classes: that are given, all others are left out; None: all that occur.
        seed: of all draws.

    Returns:
        Record numbers by user: "user-000", ...

    Raises:
        DataError: for an ``alpha`` or a number that is not positive, or more records
            wanted than there are.
    """
    kinds = np.unique(labels if classes is None else list(classes))
    left = np.array([(labels == kind).sum() for kind in kinds])
    size = records_per_user
    if size is None:
        size = left.sum() // max(users, 1)
    if not alpha > 0 or users < 1 or size < 1:
        raise DataError(
            f"dirichlet: alpha {alpha}, {users} users of {size} records; expected "
            "positive numbers"
        )
    if users * size > left.sum():
        raise DataError(
            f"dirichlet: {users} users of {size} records need {users * size}, but "
            f"there are {left.sum()}; lower one number or the other"
        )
    rng = np.random.default_rng(seed)
    wanted = []
    for _ in range(users):
        shares = rng.dirichlet(np.full(len(kinds), alpha))
        wanted.append(_class_counts(shares, left, size, rng))
        left = left - wanted[-1]
    return _drawn(labels, kinds.tolist(), np.array(wanted), _names("user", users), rng)


DIVISIONS: dict[str, Division] = {"two_kinds": two_kinds, "dirichlet": dirichlet}


def _check_two_kinds(
    labels: np.ndarray, classes: Sequence[int], wanted: np.ndarray, images: int
) -> None:
    needed = wanted.sum(axis=0)
    there = np.array([(labels == label).sum() for label in classes])
    covered = np.full(len(classes), np.inf)
    np.divide(there, needed, out=covered, where=needed > 0)
    scarcest = int(np.argmin(covered))
    have, need = there[scarcest], needed[scarcest]
    if have < need:
        # What users take is in proportion to `images`, of which two are the fewest.
        most = 2 * (have // (need // (images // 2)))
        remedy = f"lower images to {most}" if most else "none fit: have fewer users"
        raise DataError(
            f"two_kinds: class {classes[scarcest]} has {have} records, but "
            f"{len(wanted)} users with images {images} need {need}; {remedy}"
        )


def _class_counts(
    shares: np.ndarray, left: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """[classes] how many of a user's records each class gives, at most what is left."""
    counts = np.zeros_like(left)
    while (missing := size - counts.sum()) > 0:
        open_shares = np.where(left > counts, shares, 0.0)
        if not open_shares.sum() > 0:  # it has no share of what is left
            open_shares = (left - counts).astype(float)
        drawn = rng.multinomial(missing, open_shares / open_shares.sum())
        counts = np.minimum(counts + drawn, left)
    return counts


def _drawn(
    labels: np.ndarray,
    classes: Sequence[int],
    wanted: np.ndarray,
    names: list[str],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Records at random, so many of each class as users want: [users, classes]."""
    parts = []
    for label, counts in zip(classes, wanted.T, strict=True):
        shuffled = rng.permutation(np.flatnonzero(labels == label))
        parts.append(np.split(shuffled, counts.cumsum())[:-1])
    return {
        name: rng.permutation(np.concatenate(own))
        for name, own in zip(names, zip(*parts, strict=True), strict=True)
    }


def _names(kind: str, count: int) -> list[str]:
    """Ids that sort as they are counted."""
    width = max(3, len(str(count - 1)))
    return [f"{kind}-{number:0{width}d}" for number in range(count)]


def _gathered(
    records: FederatedDataset, clients: pd.DataFrame, users: dict[str, np.ndarray]
) -> Iterator[ClientRecords]:
    """Users with their records, copied from the clients that hold them."""
    ids = Ids(clients["client_id"])
    start, stop = (clients[name].to_numpy() for name in ("start", "stop"))
    first = np.cumsum(stop - start) - (stop - start)  # number of a client's first
    for user, numbers in users.items():
        order = np.argsort(numbers)
        holders = np.searchsorted(first, numbers[order], side="right") - 1
        rows = start[holders] + numbers[order] - first[holders]
        present, begins = np.unique(holders, return_index=True)
        pieces = [
            {name: c[own] for name, c in records.columns(ids[holder]).items()}
            for holder, own in zip(present, np.split(rows, begins[1:]), strict=True)
        ]
        back = np.argsort(order)
        columns = {
            name: np.concatenate([piece[name] for piece in pieces])[back]
            for name in pieces[0]
        }
        yield ClientRecords(user, columns)
