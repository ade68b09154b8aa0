"""FEMNIST's own rules: pixels, labels, and whether the data is synthetic."""

import json

import numpy as np
import pytest
from leaf_shards import write_shard

from fedmeta.benchmarks.femnist.parse import femnist_shards, parse_femnist
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed

IMAGE = [k % 256 / 255 for k in range(784)]


def test_every_byte_survives(tmp_path):
    write_shard(tmp_path / "b.json", {"f1": ([IMAGE, [1] * 784], [0, 61])})
    write_shard(tmp_path / "a.json", {"f0": ([[0.0] * 784], [35])})
    shards = femnist_shards(tmp_path)
    assert [shard.name for shard in shards] == ["a.json", "b.json"]
    clients, metadata = parse_femnist(shards)
    assert metadata == {
        "benchmark": "femnist",
        "synthetic": "false",
        "source": "LEAF JSON",
    }
    write_packed(tmp_path / "packed.arrow", clients, metadata)
    dataset = read_packed(tmp_path / "packed.arrow")
    columns = dataset.columns("f1")
    np.testing.assert_array_equal(columns["pixels"][0], np.arange(784) % 256)
    assert (columns["pixels"][1] == 255).all()
    assert columns["label"].tolist() == [0, 61]
    assert {c.dtype for c in columns.values()} == {np.dtype(np.uint8)}
    assert dataset.num_examples.tolist() == [1, 2]


@pytest.mark.parametrize("first", ["head", "data"])
def test_synthetic_data_says_so(tmp_path, first):
    path = write_shard(tmp_path / "a.json", {"f0": ([IMAGE], [1])}, synthetic="drawn")
    if first == "data":
        content = json.loads(path.read_text())
        path.write_text(json.dumps(dict(reversed(content.items()))))
    clients, metadata = parse_femnist([path])
    assert (metadata["synthetic"], metadata["source"]) == ("true", "drawn")
    assert [client.client_id for client in clients] == ["f0"]


def test_synthetic_and_real_data_are_not_mixed(tmp_path):
    real = write_shard(tmp_path / "a.json", {"f0": ([IMAGE], [1])})
    drawn = write_shard(tmp_path / "b.json", {"f1": ([IMAGE], [1])}, synthetic="drawn")
    with pytest.raises(DataError, match=r"b\.json: is synthetic but .*a\.json is not"):
        parse_femnist([real, drawn])


def test_an_empty_folder_says_where_the_data_is(tmp_path):
    with pytest.raises(DataError, match=r"preprocess\.sh.*femnist\.fetch"):
        femnist_shards(tmp_path)


def test_other_spellings_of_the_same_are_read(tmp_path):
    rows = [IMAGE[i : i + 28] for i in range(0, 784, 28)]
    texts = [str(pixel) for pixel in IMAGE]
    plain = write_shard(tmp_path / "a.json", {"f0": ([IMAGE] * 3, [3, 4, 5])})
    other = write_shard(
        tmp_path / "b.json", {"f0": ([IMAGE, rows, texts], [3.0, "4", 5])}
    )
    (wanted,), (found,) = (list(parse_femnist([path])[0]) for path in (plain, other))
    for name, column in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name], column, strict=True)


def with_pixel(value):
    return [IMAGE, IMAGE[:500] + [value] + IMAGE[501:]]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            with_pixel(1.01),
            [1, 2],
            r"record 1 has a pixel of 1\.01; expected 784 finite",
        ),
        (with_pixel(-0.1), [1, 2], r"a pixel of -0\.1; .* divide 8-bit images by 255"),
        (with_pixel(255), [1, 2], r"a pixel of 255"),
        (with_pixel(float("nan")), [1, 2], r"byte \d+: client 'f0' has NaN"),
        (with_pixel(float("-inf")), [1, 2], r"byte \d+: client 'f0' has -Infinity"),
        (with_pixel(None), [1, 2], r"record 1 has a pixel of null; expected"),
        (with_pixel("ink"), [1, 2], r"record 1 has a pixel of \"ink\"; expected"),
        (with_pixel([0.5]), [1, 2], r"record 1 has a pixel of \[0\.5\]; expected"),
        (with_pixel({}), [1, 2], r"record 1 has a pixel of \{\}; expected"),
        ([IMAGE[:-1]], [1], r"record 0 has 783 pixels; expected 784"),
        ([IMAGE, 3], [1, 1], r"record 1 has no pixels"),
        ([IMAGE], [62], r"record 0 has the label 62; expected an integer in 0\.\.61"),
        ([IMAGE], [-1], r"label -1"),
        ([IMAGE], [1.5], r"label 1\.5"),
        ([IMAGE], [True], r"label true"),
        ([IMAGE], [None], r"label null"),
        ([IMAGE], [[1]], r"label \[1\]"),
        ([IMAGE], ["A"], r"label \"A\""),
        ([IMAGE], [1, 2], r"1 records in x but 2 labels in y"),
    ],
)
def test_what_is_not_femnist(tmp_path, x, y, message):
    path = write_shard(tmp_path / "a.json", {"f0": (x, y)})
    with pytest.raises(DataError, match=message) as caught:
        list(parse_femnist([path])[0])
    text = str(caught.value)
    assert str(path) in text
    assert "client 'f0'" in text
    assert "\n" not in text
