"""Which roles and windows a profile takes."""

import os
from pathlib import Path

import numpy as np
import pytest

from fedmeta.benchmarks.shakespeare.parse import parse_shakespeare, shakespeare_files
from fedmeta.benchmarks.shakespeare.profiles import (
    TABLE1,
    TABLE1_SEED,
    search_seed,
    select_clients,
    window_counts,
)
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.options import build

COUNTS = [5, 20, 21, 100, 5250, 5251]


def pack(path, counts):
    """Roles of so many windows in longer texts."""
    clients = []
    for index, count in enumerate(counts):
        begins = np.zeros(count + 90, dtype=np.uint8)
        begins[5 : 5 + count] = 1
        columns = {"text": np.full(count + 90, 97, np.uint8), "begins": begins}
        clients.append(ClientRecords(f"role{index:03d}", columns))
    write_packed(path, clients, {})
    return read_packed(path)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("packed") / "few.arrow", COUNTS)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    counts = np.random.default_rng(0).integers(1, 60, 300)
    return pack(tmp_path_factory.mktemp("packed") / "many.arrow", counts)


def used(table):
    return (table["stop"] - table["start"]).tolist()


def test_counts_are_of_windows_not_of_characters(few):
    assert window_counts(few).tolist() == COUNTS


def test_fedmeta_like_is_open_below_and_closed_above(few):
    table = select_clients(few, "fedmeta_like", min_records=20, max_records=5250)
    assert used(table) == [21, 100, 5250]
    unlimited = select_clients(few, "fedmeta_like", min_records=20)
    assert used(unlimited) == [21, 100, 5250, 5251]


def test_leaf_takes_roles_of_enough_windows_whole(few):
    assert used(select_clients(few, "leaf", min_records=20)) == COUNTS[1:]


def test_leaf_sf_takes_a_share_to_the_window(many):
    table = select_clients(many, "leaf_sf", min_records=0, sampling_fraction=0.3)
    counts = window_counts(many)
    assert sum(used(table)) == int(0.3 * counts.sum())
    sizes = dict(zip(many.client_ids, counts, strict=True))
    cut = [row for row in table.itertuples() if row.stop < sizes[row.client_id]]
    assert len(cut) <= 1
    least = select_clients(many, "leaf_sf", min_records=30, sampling_fraction=0.3)
    assert set(least["client_id"]) < set(table["client_id"])
    assert min(used(least)) >= 30


@pytest.mark.parametrize(
    ("profile", "options"),
    [("fedmeta_like", {"max_clients": 50}), ("leaf_sf", {"sampling_fraction": 0.5})],
)
def test_same_seed_same_roles(many, profile, options):
    def select(seed):
        return select_clients(many, profile, min_records=9, seed=seed, **options)

    assert select(1).equals(select(1))
    assert not select(1).equals(select(2))
    assert select(1)["client_id"].is_monotonic_increasing


def test_as_many_roles_as_are_asked_for_or_there(many):
    def number(most):
        return len(
            select_clients(many, "fedmeta_like", min_records=0, max_clients=most)
        )

    assert (number(7), number(300), number(528)) == (7, 300, 300)


@pytest.mark.parametrize(
    ("profile", "options", "message"),
    [
        ("full", {}, "'full'; one of fedmeta_like, leaf, leaf_sf"),
        ("leaf", {"max_records": 9}, "'leaf' has no max_records: leave it out"),
        ("leaf_sf", {"max_clients": 9}, "'leaf_sf' has no max_clients"),
        ("leaf", {"sampling_fraction": 0.5}, "takes roles whole, not 0.5"),
        (
            "leaf_sf",
            {"sampling_fraction": 1.5},
            "fraction.: expected 1 or less",
        ),
        ("fedmeta_like", {"max_clients": 0}, "max_clients.: expected 1 or more"),
        ("leaf", {"min_records": 10_000}, "none of 6 roles is left .* lower min"),
    ],
)
def test_errors_say_what_to_change(few, profile, options, message):
    options = {"profile": profile, "min_records": 20, **options}
    with pytest.raises(ValueError, match=message):
        build(select_clients, options, "selection", few)


def test_search_ranks_seeds_by_their_distance():
    counts = np.random.default_rng(1).integers(21, 2400, 900)
    found = search_seed(counts, range(30))
    assert sorted(found["seed"]) == list(range(30))
    assert found["distance"].is_monotonic_increasing
    best = found.iloc[0]
    assert best["samples"] == pytest.approx(528 * best["samples_mean"])
    names = ("samples", "samples_mean", "samples_sd")
    deviations = [abs(best[name] / TABLE1[name].value - 1) for name in names]
    assert best["distance"] == pytest.approx(max(deviations))


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("SHAKESPEARE"), reason="SHAKESPEARE not given")
def test_the_seed_comes_near_table_1(tmp_path):
    path = Path(os.environ["SHAKESPEARE"])
    files = shakespeare_files(path) if path.is_dir() else [path]
    write_packed(tmp_path / "packed.arrow", *parse_shakespeare(files))
    data = read_packed(tmp_path / "packed.arrow")
    limits = {"min_records": 20, "max_records": 5250}
    assert len(select_clients(data, "fedmeta_like", **limits)) == 849
    table = select_clients(
        data, "fedmeta_like", **limits, max_clients=528, seed=TABLE1_SEED
    )
    sizes = np.array(used(table))
    assert (len(sizes), sizes.sum()) == (528, 624_856)
    assert sizes.mean() == pytest.approx(TABLE1["samples_mean"].value, rel=0.001)
    assert sizes.std() == pytest.approx(TABLE1["samples_sd"].value, rel=0.001)
