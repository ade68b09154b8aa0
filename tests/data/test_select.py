"""Which clients a study has."""

import numpy as np
import pytest

from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.select import select_clients


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Clients u00..u29 of 1..30 records."""
    path = tmp_path_factory.mktemp("packed") / "records.arrow"
    clients = [
        ClientRecords(f"u{n:02d}", {"label": np.zeros(n + 1, np.uint8)})
        for n in range(30)
    ]
    write_packed(path, clients, {})
    return read_packed(path)


def test_enough_means_at_least(records):
    table = select_clients(records, min_records=25)
    assert table.to_dict("list") == {
        "client_id": ["u24", "u25", "u26", "u27", "u28", "u29"],
        "start": [0] * 6,
        "stop": [25, 26, 27, 28, 29, 30],
    }


def test_some_of_too_many_are_taken_at_random(records):
    options = {"min_records": 11, "max_clients": 10}
    table = select_clients(records, **options)
    assert len(table) == 10
    assert table["client_id"].is_monotonic_increasing
    assert (table["stop"] == table["client_id"].str[1:].astype(int) + 1).all()
    assert table.equals(select_clients(records, **options))
    assert not table.equals(select_clients(records, **options, seed=1))
    assert len(select_clients(records, min_records=11, max_clients=99)) == 20


def test_nobody_left(records):
    with pytest.raises(DataError, match="none of 30 clients has 31 .* most is 30"):
        select_clients(records, min_records=31)
