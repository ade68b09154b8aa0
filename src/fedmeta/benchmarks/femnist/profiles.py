"""Which FEMNIST clients and records a study uses.

LEAF writes files of 100 writers and samples each file by itself: writers in random
order until a share of the file's records is reached, the last one cut to fit. Until
January 2021 it also lost the last, incomplete file, which on the whole data set is 97
writers from f0500-f0999 (an artefact of the order of directories). `leaf2019` does
both and gives Table 1 of Chen et al. 2018; `leaf2021` has all files; `full` takes all
writers and records.

Files here are runs of 100 in the order of writers' ids, however the raw shards were
cut. With part of the data the rule stays that of LEAF: `leaf2019` loses as many
writers as the last file of 100 leaves incomplete, from f0500-f0999 when there are
enough of those and from all otherwise; a single incomplete file, of fewer than 100
writers, is kept.

`python -m fedmeta.benchmarks.femnist.profiles PACKED` repeats the search for
`TABLE1_SEED`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from fedmeta.core.bounds import Number, Portion, Seed
from fedmeta.data.encoding import stored_labels
from fedmeta.data.errors import DataError, check_known
from fedmeta.data.federated import FederatedDataset, clients_table, read_packed
from fedmeta.data.leaf import sample_share
from fedmeta.data.statistics import Reference, client_statistics
from fedmeta.late import pd

PROFILES = ("full", "leaf2019", "leaf2021")
WRITERS_A_FILE = 100
LOST_NUMBERS = range(500, 1000)  # of the writers f0500-f0999
# Found by counts and classes alone, before any training (`search_seed`):
# 1,068 clients, 235,681 samples.
TABLE1_SEED = 1748
# Table 1: value and accepted relative deviation
TABLE1 = {
    "clients": Reference(1068, 0.03),
    "samples": Reference(235_683, 0.015),
    "classes": Reference(62),
    "samples_mean": Reference(220, 0.03),
    "samples_sd": Reference(90, 0.03),
    "classes_min": Reference(9),
    "classes_max": Reference(62),
}


def select_clients(
    dataset: FederatedDataset,
    profile: str,
    *,
    sampling_fraction: Portion,
    min_records: Number,
    seed: Seed,
    drop_duplicates: bool,
) -> pd.DataFrame:
    """The clients table of a profile.

    Args:
        dataset: FEMNIST, whole or in part.
        profile: a name in `PROFILES`.
        sampling_fraction: share of each file's records, in (0, 1]; the paper's is 0.3.
            `full` samples nothing and refuses any but 1.
        min_records: clients keep at least so many used records (more than that for
            `leaf2019`, as LEAF had it then).
        seed: of the writers lost and the writers sampled.
        drop_duplicates: leave out a first record that equals the second: LEAF's
            grouping step doubled the first of nearly every writer. Sampling counts
            them still, so the clients are the same either way.

    Returns:
        `client_id`, `start`, `stop` by id: records [start, stop) are used.

    Raises:
        DataError: for an unknown profile, a fraction that is not the profile's, or no
            client left.
    """
    check_known(profile, PROFILES, "profile")
    if profile == "full" and sampling_fraction != 1:
        raise DataError(
            f"profile 'full' takes all records, not {sampling_fraction} of them: set "
            "sampling_fraction to 1, or the profile to 'leaf2021'"
        )
    rows, stop = np.arange(len(dataset.client_ids)), dataset.num_examples
    rng = np.random.default_rng(seed)
    if profile == "leaf2019":
        rows = _without_last_file(dataset.client_ids, rng)
    if profile != "full":
        rows, stop = _sample_files(rows, stop, sampling_fraction, rng)
    table = clients_table(dataset, rows, stop)
    if drop_duplicates:
        table["start"] = [_first_doubled(dataset, c) for c in table["client_id"]]
    least = min_records + (profile == "leaf2019")  # LEAF said "more than" then
    kept = table[table["stop"] - table["start"] >= least]
    if kept.empty:
        raise DataError(
            f"{dataset.path}: none of {len(dataset.client_ids)} clients is left by "
            f"profile {profile!r} with sampling_fraction {sampling_fraction} and "
            f"min_records {min_records}; lower min_records or raise sampling_fraction"
        )
    return kept.sort_values("client_id", ignore_index=True)


def search_seed(dataset: FederatedDataset, seeds: range) -> pd.DataFrame:
    """Seeds whose `leaf2019` sample has Table 1's clients and classes.

    Returns:
        `seed` and `samples`, nearest to Table 1's number of samples first.
    """
    found = []
    for seed in seeds:
        table = select_clients(
            dataset,
            "leaf2019",
            sampling_fraction=0.3,
            min_records=10,
            seed=seed,
            drop_duplicates=False,
        )
        samples = int((table["stop"] - table["start"]).sum())
        if len(table) == TABLE1["clients"].value:
            found.append((abs(samples - TABLE1["samples"].value), seed, samples, table))
    rows = []
    for _, seed, samples, table in sorted(found, key=lambda row: row[:2]):
        statistics = client_statistics(table, dataset, stored_labels, TABLE1)
        if (statistics["verdict"] == "within").all():
            rows.append({"seed": seed, "samples": samples})
    return pd.DataFrame(rows)


def _without_last_file(ids: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Rows without as many writers as the last file has, if it is incomplete."""
    rows = np.arange(len(ids))
    lost = len(ids) % WRITERS_A_FILE
    if len(ids) > WRITERS_A_FILE and lost:
        candidates = np.array([row for row in rows if _is_lost_number(ids[int(row)])])
        pool = candidates if len(candidates) >= lost else rows
        rows = np.setdiff1d(rows, rng.choice(pool, lost, replace=False))
    return rows


def _sample_files(
    rows: np.ndarray, counts: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """LEAF's sampling: in each file, writers at random up to a share of its records."""
    chosen, stops = [], []
    for first in range(0, len(rows), WRITERS_A_FILE):
        file = rows[first : first + WRITERS_A_FILE]
        writers, taken = sample_share(file, counts, fraction, rng)
        chosen.append(writers[taken > 0])
        stops.append(taken[taken > 0])
    return np.concatenate(chosen), np.concatenate(stops)


def _is_lost_number(client_id: str) -> bool:
    number = client_id[1:5]
    return number.isdecimal() and int(number) in LOST_NUMBERS


def _first_doubled(dataset: FederatedDataset, client_id: str) -> int:
    """1 when the first two records are the same, else 0."""
    return int(
        all(
            len(column) > 1 and np.array_equal(column[0], column[1])
            for column in dataset.columns(client_id).values()
        )
    )


if __name__ == "__main__":
    print(search_seed(read_packed(sys.argv[1]), range(5_000)).head(10))  # noqa: T201
