"""What the report says of the data: their name, and how they were divided."""

from types import SimpleNamespace

import pandas as pd
import pytest

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.partition import partition_examples
from fedmeta.pipelines.reporting import partition_notes, source_of

CLIENTS = pd.DataFrame({"client_id": ["a", "b"], "start": 0, "stop": [300, 90]})


@pytest.mark.parametrize(
    ("metadata", "source"),
    [
        ({"synthetic": "false"}, "Sent140"),
        ({"synthetic": "true"}, "synthetic sample, not Sent140"),
        ({"synthetic": "false", "name": "reviews"}, "reviews, not Sent140"),
    ],
)
def test_only_its_own_data_get_a_benchmarks_name(tmp_path, metadata, source):
    column = pd.Series([1, 0]).to_numpy("uint8")
    path = tmp_path / "records.arrow"
    write_packed(path, [ClientRecords("a", {"label": column})], metadata)
    records = read_packed(path)
    assert source_of(BENCHMARKS["sent140"], records) == source
    assert records.stands_in == (source != "Sent140")


def notes(name, strategy, gap):
    partition = SimpleNamespace(strategy=strategy, gap=gap, min_query=5)
    divided = partition_examples(CLIENTS, 0.2, 0, strategy, gap, min_query=5)
    return " ".join(partition_notes(BENCHMARKS[name], partition, CLIENTS, divided))


def test_overlapping_windows_are_told():
    assert "leak" in notes("shakespeare", "random", 0)
    assert "leak" in notes("shakespeare", "order", 40)
    apart = notes("shakespeare", "order", 80)
    assert "leak" not in apart
    assert "1 of 2 clients take no part" in apart


def test_records_that_share_nothing_need_no_note():
    assert notes("femnist", "random", 0) == ""
