"""Profiles: LEAF's files, lost writers, sampling and doubled samples."""

import numpy as np
import pytest

from fedmeta.benchmarks.femnist import profiles
from fedmeta.benchmarks.femnist.profiles import search_seed, select_clients
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.statistics import Reference
from fedmeta.options import build

PAPER = {
    "sampling_fraction": 0.3,
    "min_records": 10,
    "seed": 0,
    "drop_duplicates": False,
}
ALL = {"sampling_fraction": 1, "min_records": 0, "seed": 0, "drop_duplicates": False}


def pack(path, sizes, doubled=()):
    """Clients `id -> records`, each record different; `doubled` repeat their first."""
    clients = []
    for client_id, n in sizes.items():
        pixels = np.arange(n, dtype=np.uint16).reshape(n, 1)
        if client_id in doubled:
            pixels[1] = pixels[0]
        label = np.zeros(n, np.uint8)
        clients.append(ClientRecords(client_id, {"pixels": pixels, "label": label}))
    write_packed(path, clients, {})
    return read_packed(path)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """230 writers, 60 of them with numbers in 500..999."""
    rng = np.random.default_rng(0)
    numbers = [*range(500, 560), *range(1000, 1170)]
    sizes = {f"f{n:04d}_{n % 50:02d}": int(rng.integers(19, 300)) for n in numbers}
    return pack(tmp_path_factory.mktemp("packed") / "many.arrow", sizes)


def used(table):
    return int((table["stop"] - table["start"]).sum())


def test_full_takes_everything(many):
    table = select_clients(many, "full", **ALL)
    assert table["client_id"].tolist() == many.client_ids
    assert used(table) == many.num_examples.sum()


def test_leaf2021_samples_each_file_to_the_record(many):
    table = select_clients(many, "leaf2021", **{**PAPER, "min_records": 0})
    files = [many.num_examples[i : i + 100].sum() for i in range(0, 230, 100)]
    assert used(table) == sum(int(0.3 * size) for size in files)
    counts = dict(zip(many.client_ids, many.num_examples, strict=True))
    cut = [row for row in table.itertuples() if row.stop < counts[row.client_id]]
    assert len(cut) <= 3  # one a file
    assert table["client_id"].is_monotonic_increasing


def test_leaf2019_loses_the_incomplete_file(many):
    table = select_clients(many, "leaf2019", **{**ALL, "min_records": -1})
    lost = set(many.client_ids) - set(table["client_id"])
    assert len(lost) == 30
    assert all("f0500" <= client_id < "f1000" for client_id in lost)


@pytest.mark.parametrize(("writers", "kept"), [(60, 60), (100, 100), (130, 100)])
def test_leaf2019_with_few_writers(tmp_path, writers, kept):
    data = pack(tmp_path / "a.arrow", {f"f2{i:03d}_00": 20 for i in range(writers)})
    assert len(select_clients(data, "leaf2019", **ALL)) == kept


def test_same_seed_same_clients(many):
    table = select_clients(many, "leaf2019", **PAPER)
    assert table.equals(select_clients(many, "leaf2019", **PAPER))
    assert not table.equals(select_clients(many, "leaf2019", **{**PAPER, "seed": 1}))


def test_minimum_is_exclusive_for_leaf2019_only(tmp_path):
    data = pack(tmp_path / "a.arrow", {"a": 9, "b": 10, "c": 11})
    kept = {
        name: select_clients(data, name, **{**ALL, "min_records": 10})[
            "client_id"
        ].tolist()
        for name in ("leaf2019", "leaf2021", "full")
    }
    assert kept == {"leaf2019": ["c"], "leaf2021": ["b", "c"], "full": ["b", "c"]}


def test_only_doubled_first_records_are_dropped(tmp_path):
    data = pack(tmp_path / "a.arrow", {"a": 5, "b": 6, "c": 1}, doubled={"b"})
    table = select_clients(data, "full", **{**ALL, "drop_duplicates": True})
    assert table.to_dict("list") == {
        "client_id": ["a", "b", "c"],
        "start": [0, 1, 0],
        "stop": [5, 6, 1],
    }


def test_errors_say_what_to_change(many):
    for profile, options, message in [
        ("leaf", PAPER, "unknown profile 'leaf'; one of full, leaf2019, leaf2021"),
        (
            "leaf2019",
            {**PAPER, "sampling_fraction": 0},
            "expected more than 0",
        ),
        ("full", PAPER, "'full' takes all records, not 0.3 .* 'leaf2021'"),
        (
            "leaf2021",
            {**PAPER, "min_records": 500},
            "none of 230 clients is left .* lower min_records",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            build(select_clients, {"profile": profile, **options}, "selection", many)


def test_the_search_finds_the_seeds_of_table_1_alone(many, monkeypatch):
    taken = {
        seed: select_clients(
            many, "leaf2019", **{**PAPER, "min_records": 10, "seed": seed}
        )
        for seed in range(6)
    }
    wanted = Reference(len(taken[3]))
    counts = {name: Reference(1e9, 1) for name in profiles.TABLE1}
    monkeypatch.setattr(profiles, "TABLE1", {**counts, "clients": wanted})
    found = search_seed(many, range(6))
    assert 3 in set(found["seed"])
    alike = {seed for seed, table in taken.items() if len(table) == wanted.value}
    assert set(found["seed"]) == alike
    assert dict(zip(found["seed"], found["samples"], strict=True)) == {
        seed: used(taken[seed]) for seed in alike
    }
