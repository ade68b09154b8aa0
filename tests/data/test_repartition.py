"""Records given anew to users: how many of which class, each once, unharmed."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.repartition import dirichlet, repartition, two_kinds
from fedmeta.datasets import PackedDataset, PackedSource

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 40))


def labels(columns, rows):
    return columns["label"][rows]


def counts(users, labels, classes=range(10)):
    """[users, classes] records held."""
    return np.array([[(labels[r] == c).sum() for c in classes] for r in users.values()])


def assert_each_at_most_once(users):
    given = np.concatenate(list(users.values()))
    assert len(np.unique(given)) == len(given)


# Two kinds of users


def test_two_kinds_by_hand():
    users = two_kinds(LABELS, users=4, images=4, seed=0)
    assert list(users) == ["five-000", "five-001", "one-000", "one-001"]
    assert counts(users, LABELS).tolist() == [
        [4, 4, 4, 4, 4, 0, 0, 0, 0, 0],
        [4, 4, 4, 4, 4, 0, 0, 0, 0, 0],
        [2, 0, 0, 0, 0, 8, 0, 0, 0, 0],
        [0, 2, 0, 0, 0, 0, 8, 0, 0, 0],
    ]
    assert_each_at_most_once(users)


def test_two_kinds_of_chosen_classes_spread_evenly():
    classes = [11, 10, 9, 8, 7, 0, 1, 2, 3, 4]
    users = two_kinds(LABELS, users=20, images=2, classes=classes, seed=0)
    held = counts(users, LABELS, classes)
    assert held.sum(axis=0).tolist() == [22] * 5 + [8] * 5
    assert held[10 + 7].tolist() == [0, 0, 1, 0, 0, 0, 0, 4, 0, 0]
    assert counts(users, LABELS, [5, 6]).sum() == 0


def test_the_seed_decides_which_records_and_their_order():
    first, same, other = (
        two_kinds(LABELS, users=4, images=4, seed=seed) for seed in (1, 1, 2)
    )
    for user, numbers in first.items():
        np.testing.assert_array_equal(numbers, same[user])
        assert set(numbers) != set(other[user])
    order = LABELS[first["five-000"]]
    assert np.any(np.diff(order) < 0)  # not a class after the other
    assert np.any(np.diff(first["one-000"]) < 0)


def test_the_most_images_that_fit():
    """Of 40 records, 4 users take 2.5 a: 16 fit, 18 do not; then, 2.25 a * 2."""
    users = two_kinds(LABELS, users=4, images=16, seed=0)
    assert counts(users, LABELS).sum(axis=0)[:3].tolist() == [40, 40, 32]
    message = (
        "class 0 has 40 records, but 4 users with images 18 need 45; lower images to 16"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        two_kinds(LABELS, users=4, images=18, seed=0)
    rare = LABELS[np.cumsum(LABELS == 6) <= 9]  # not all records of the others, either
    rare = np.concatenate([rare, np.repeat([0, 1, 2, 3, 4, 5, 7, 8, 9], 40)])
    message = "class 6 has 9 records, but 4 users with images 6 need 12; lower images"
    with pytest.raises(DataError, match=f"{message} to 4"):
        two_kinds(rare, users=4, images=6, seed=0)
    with pytest.raises(DataError, match="class 9 has 0 records.*have fewer users"):
        two_kinds(LABELS[LABELS != 9], users=20, images=2, seed=0)


@pytest.mark.parametrize(
    "options",
    [
        {"users": 3, "images": 4},
        {"users": 0, "images": 4},
        {"users": 4, "images": 5},
        {"users": 4, "images": 0},
        {"users": 4, "images": 4, "classes": [0, 1]},
        {"users": 4, "images": 4, "classes": [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]},
    ],
)
def test_bad_options_of_two_kinds(options):
    with pytest.raises(DataError, match="two_kinds: .* expected"):
        two_kinds(LABELS, **options, seed=0)


# Dirichlet


def test_dirichlet_gives_all_users_as_many_records():
    users = dirichlet(LABELS, users=7, alpha=0.3, records_per_user=30, seed=0)
    assert list(users)[:2] == ["user-000", "user-001"]
    assert {len(numbers) for numbers in users.values()} == {30}
    assert_each_at_most_once(users)
    same = dirichlet(LABELS, users=7, alpha=0.3, records_per_user=30, seed=0)
    np.testing.assert_array_equal(users["user-006"], same["user-006"])


def test_a_small_alpha_gives_few_classes_and_a_large_one_all():
    labels = np.repeat(np.arange(10), 4000)
    options = {"users": 40, "records_per_user": 100, "seed": 0}
    largest = {
        alpha: counts(dirichlet(labels, alpha=alpha, **options), labels).max(axis=1)
        for alpha in (1e-3, 1.0, 1e5)
    }
    assert np.median(largest[1e-3]) == 100
    # The largest of 10 uniform spacings is 1/10 (1 + 1/2 + ... + 1/10) = 0.293; the
    # draw of 100 records makes it a little larger.
    assert 27 < largest[1.0].mean() < 34
    assert largest[1e5].max() < 25


def test_a_class_that_runs_out_is_replaced_by_the_others():
    labels = np.repeat([3, 5], [4, 96])
    users = dirichlet(labels, users=5, alpha=1e5, records_per_user=20, seed=0)
    held = counts(users, labels, [3, 5])
    assert held[0].tolist() == [4, 16]  # half of 20 were to be of class 3
    assert held[1:].tolist() == [[0, 20]] * 4


def test_all_records_and_chosen_classes_alone():
    users = dirichlet(LABELS, users=9, alpha=0.05, classes=[11, 2], seed=3)
    given = np.concatenate(list(users.values()))
    assert_each_at_most_once(users)
    assert len(given) == 72  # 9 times 8 of the 80
    assert set(LABELS[given]) == {2, 11}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"users": 5, "alpha": 0}, "alpha 0, 5 users of 96 records; expected"),
        ({"users": 0, "alpha": 1}, "0 users"),
        ({"users": 481, "alpha": 1}, "481 users of 0 records"),
        (
            {"users": 5, "alpha": 1, "records_per_user": 97},
            "5 users of 97 records need 485, but there are 480",
        ),
    ],
)
def test_bad_options_of_dirichlet(options, message):
    with pytest.raises(DataError, match=message):
        dirichlet(LABELS, **options, seed=0)


# From packed records to packed records


@pytest.fixture
def records(tmp_path):
    """LABELS held by clients of 0 to 30 records that each carry their number."""
    sizes = [*range(31), 15]  # 480 in all
    numbers = np.split(np.arange(480), np.cumsum(sizes)[:-1])
    clients = [
        ClientRecords(
            f"c{i:02d}",
            {
                "number": own.astype(np.int32),
                "pair": np.stack([own, -own], axis=1).astype(np.float32),
                "label": LABELS[own].astype(np.uint8),
            },
        )
        for i, own in enumerate(numbers)
    ]
    metadata = {"synthetic": "true", "name": "toy"}
    write_packed(tmp_path / "source.arrow", clients, metadata)
    return read_packed(tmp_path / "source.arrow")


def test_users_hold_their_records_whole_and_in_order(records):
    options = {"users": 4, "images": 6, "seed": 5}
    stream, metadata = repartition(records, labels, "two_kinds", **options)
    expected = two_kinds(LABELS, **options)
    seen = []
    for user in stream:
        seen.append(user.client_id)
        numbers, columns = expected[user.client_id], user.columns
        np.testing.assert_array_equal(columns["number"], numbers)
        np.testing.assert_array_equal(columns["label"], LABELS[numbers])
        np.testing.assert_array_equal(columns["pair"], np.c_[numbers, -numbers])
        assert columns["number"].dtype == np.int32
    assert seen == list(expected)
    assert metadata["synthetic"] == "true"
    assert metadata["name"] == "toy"


def test_only_the_records_of_a_clients_table_are_given(records):
    rows = [("c30", 10, 30), ("c05", 1, 5), ("c20", 0, 20)]
    clients = pd.DataFrame(rows, columns=["client_id", "start", "stop"])
    stream, _ = repartition(
        records, labels, "dirichlet", clients, users=4, alpha=1.0, seed=0
    )
    given = np.concatenate([user.columns["number"] for user in stream])
    usable = [records.columns(name)["number"][start:stop] for name, start, stop in rows]
    np.testing.assert_array_equal(np.sort(given), np.sort(np.concatenate(usable)))


def test_errors_come_before_anything_is_written(records):
    with pytest.raises(DataError, match="unknown division 'two'; one of dirichlet, tw"):
        repartition(records, labels, "two", users=4)
    with pytest.raises(DataError, match="lower images to 16"):
        repartition(records, labels, "two_kinds", users=4, images=100, seed=0)


@pytest.mark.parametrize("images", [4, 6])
def test_scikit_learns_digits_in_the_papers_division(tmp_path, images):
    """1,797 images of 8 x 8, 174 to 183 a class: 50 users take 27.5 a of each."""
    digits = load_digits()
    pixels, classes = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    halves = {"even": slice(0, None, 2), "odd": slice(1, None, 2)}
    source = [
        ClientRecords(name, {"pixels": pixels[half], "label": classes[half]})
        for name, half in halves.items()
    ]
    write_packed(tmp_path / "digits.arrow", source, {"synthetic": "false"})
    records = read_packed(tmp_path / "digits.arrow")
    made = repartition(records, labels, "two_kinds", users=50, images=images, seed=0)
    dataset = PackedDataset(str(tmp_path / "users.arrow"))
    dataset.save(PackedSource(lambda: made, {}))

    users = dataset.load()
    assert len(users.client_ids) == 50
    assert users.client_ids[25] == "one-000"
    assert users.num_examples.tolist() == [5 * images] * 25 + [5 * images // 2] * 25
    columns = users.columns("one-008")
    assert sorted(columns["label"]) == [3] * (images // 2) + [8] * (2 * images)
    # Pictures still go with their labels, and none came twice that was not there twice.
    known = {(*image, label) for image, label in zip(pixels, classes, strict=True)}
    given = [
        (*image, label)
        for user in users.client_ids
        for image, label in zip(*users.columns(user).values(), strict=True)
    ]
    assert set(given) <= known
    assert len(set(given)) == len(given) == 25 * 5 * images + 25 * 5 * images // 2
    with pytest.raises(DataError, match="class 2 has 177 .* images 8 need 220.* to 6"):
        repartition(records, labels, "two_kinds", users=50, images=8, seed=0)
