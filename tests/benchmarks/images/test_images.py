"""A folder of images of one's own: what is read, what a model sees, what is refused."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from fedmeta.benchmarks.images.parse import find_raw, parse
from fedmeta.benchmarks.images.pixels import codebook, encoding
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed
from fedmeta.models.cnn import femnist_cnn
from fedmeta.pipelines.ingestion.nodes import pack
from fedmeta.pipelines.options import RawOptions

RED, GREEN = [200, 0, 0], [0, 100, 0]


def picture(path, colour, size=(6, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), colour, np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two clients and classes; other sizes, formats and files that are no images."""
    home = tmp_path / "pictures"
    picture(home / "ann" / "cat" / "1.png", RED)
    picture(home / "ann" / "dog" / "2.PNG", GREEN, (4, 4))
    picture(home / "bob" / "dog" / "3.png", GREEN, mode="L")
    picture(home / ".thumbnails" / "dog" / "4.png", RED)
    (home / "ann" / "cat" / "notes.txt").write_text("a cat")
    return home


def packed(folder, **options):
    clients, metadata = parse(find_raw(folder), **{"size": 4, **options})
    write_packed(folder / "records.arrow", clients, metadata)
    return read_packed(folder / "records.arrow")


def test_clients_classes_and_pixels(folder):
    records = packed(folder, colour=True)
    assert list(records.client_ids) == ["ann", "bob"]
    ann = records.columns("ann")
    assert ann["label"].tolist() == [0, 1]
    colours = ann["pixels"].reshape(2, 3, 16)
    assert (colours == np.array([RED, GREEN])[:, :, None]).all()
    assert records.metadata["name"] == "pictures"
    assert not records.synthetic
    grey = packed(folder, name="cats and dogs")
    assert grey.columns("bob")["pixels"].shape == (1, 16)
    assert grey.metadata["name"] == "cats and dogs"


def test_what_a_model_sees_is_decided_by_training_clients(folder):
    records = packed(folder, colour=True)
    clients = pd.DataFrame({"client_id": ["ann"], "start": 0, "stop": [2]})
    seen = encoding(codebook(records, clients))
    assert seen.sizes == {"image_size": 4, "classes": 2, "colours": 3}
    x, y = seen.examples(records.columns("ann"), np.arange(2))
    # ann's reds are 200 and 0, greens 0 and 100, and there is no blue
    expected = [[1, -1, 0], [-1, 1, 0]]
    assert x.reshape(2, 3, 16).mean(-1).numpy() == pytest.approx(np.array(expected))
    assert y.tolist() == [0, 1]
    # bob's grey is a new value of every channel
    x, _ = seen.examples(records.columns("bob"), np.arange(1))
    assert x.shape == (1, 48)


def test_the_networks_colours_are_its_channels():
    options = {"channels": (2, 3), "hidden": 5, "classes": 2, "image_size": 8}
    model = femnist_cnn(**options, colours=3)
    params, images = model.init(0), torch.rand(4, 3, 8, 8)
    assert model.apply(params, images.flatten(1)).shape == (4, 2)
    # a colour that the first layer does not look at says nothing
    params["conv1.weight"][:, 2] = 0
    two = femnist_cnn(**options, colours=2)
    alone = {**params, "conv1.weight": params["conv1.weight"][:, :2]}
    torch.testing.assert_close(
        model.apply(params, images), two.apply(alone, images[:, :2])
    )


def test_an_image_that_was_moved_is_packed_again(folder):
    def settings():
        raw = RawOptions(folder=str(folder), sample=None)
        return pack(BENCHMARKS["images"], raw, find_raw(folder)).settings

    before = settings()
    assert settings() == before
    os.replace(folder / "ann" / "cat" / "1.png", folder / "ann" / "dog" / "1.png")
    assert settings() != before


def test_levels_of_16_bits_are_scaled(folder):
    """As Pillow converts them, all but the darkest would be white."""
    levels = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    Image.fromarray(levels.repeat(2, 0).repeat(2, 1)).save(
        folder / "bob" / "dog" / "3.png"
    )
    for colour in (False, True):
        pixels = packed(folder, colour=colour).columns("bob")["pixels"]
        found = pixels.reshape(1 + 2 * colour, 4, 4)[:, ::2, ::2]
        assert (found == [[0, 100], [200, 255]]).all()


def test_levels_without_a_greatest_are_refused(folder):
    path = folder / "bob" / "dog" / "5.tiff"
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(path)
    with pytest.raises(DataError, match=r"5.tiff: .*levels of 32 bits; expected 8"):
        packed(folder)


LISTED = [  # client, class, path: scattered, as rows of a table may be
    (7.0, "dog", "bob/dog/3.png"),
    (5.0, "cat", "ann/cat/1.png"),
    (7.0, "cat", "ann/cat/1.png"),
    (5.0, "dog", "ann/dog/2.PNG"),
]
COLUMNS = {"client": "writer", "label": "what", "image": "file"}


def listed(folder, form):
    """The same images as a table: of paths, of bytes, or as Hugging Face has them."""
    table = pd.DataFrame(LISTED, columns=["writer", "what", "file"])
    if form == "paths.csv":
        table.to_csv(folder / form, index=False)
        return folder / form
    content = [(folder / path).read_bytes() for path in table["file"]]
    if form == "saved":
        content = [{"bytes": one, "path": None} for one in content]
    made = pa.table({**table[["writer", "what"]], "file": content})
    home = folder / "table"
    home.mkdir()
    for part in range(2):
        rows = made.slice(2 * part, 2)
        if form == "saved":
            with pa.ipc.new_stream(home / f"data-{part}.arrow", rows.schema) as file:
                file.write_table(rows)
        else:
            parquet.write_table(rows, home / f"{part}.parquet")
    return home


@pytest.mark.parametrize("form", ["paths.csv", "bytes", "saved"])
def test_a_table_of_images_is_as_their_folders(folder, form):
    table = listed(folder, form)
    files = find_raw(table)
    assert any(path.suffix == ".PNG" for path in files) == (form == "paths.csv")
    clients, metadata = parse(files, size=4, colour=True, **COLUMNS)
    assert json.loads(metadata["classes"]) == ["cat", "dog"]
    assert metadata["name"] == table.name
    assert metadata["synthetic"] == "false"
    found = {client.client_id: client.columns for client in clients}
    assert {name: own["label"].tolist() for name, own in found.items()} == {
        "7": [1, 0],
        "5": [0, 1],
    }
    folders = packed(folder, colour=True)
    ann, bob = folders.columns("ann")["pixels"], folders.columns("bob")["pixels"]
    np.testing.assert_array_equal(found["5"]["pixels"], ann)
    np.testing.assert_array_equal(found["7"]["pixels"], [bob[0], ann[0]])


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (
            {"image": None},
            "expected the names of its columns: give raw.client, raw",
        ),
        ({"image": "fil"}, r"no column 'fil' \(is it 'file'\?\)"),
        ("7.0,dog,\n", "row 5: no image; expected a path or bytes: remove the row"),
        ("7.0,,x.png\n", "row 5 has no label in column 'what'"),
        ("7.0,dog,x.png\n", r"row 5: .*x.png: cannot be read as an image .*remove"),
    ],
)
def test_what_is_refused_in_a_table(folder, spoilt, told):
    table, given = listed(folder, "paths.csv"), dict(COLUMNS)
    if isinstance(spoilt, dict):
        given |= spoilt
    else:
        with table.open("a") as file:
            file.write(spoilt)
    with pytest.raises(DataError, match=told) as error:
        parse(find_raw(table), size=4, **given)
    assert str(table) in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_of_folders_are_refused(folder):
    """A table beside them would be passed over in silence."""
    listed(folder, "paths.csv")
    with pytest.raises(DataError, match=r"pictures: images in folders.*name the file"):
        packed(folder, **COLUMNS)


@pytest.mark.parametrize("name", [b"caf\xe9/cat", b"ann/caf\xe9"])
def test_names_of_folders_that_are_no_text_are_refused(folder, name):
    """As archives of other systems leave them."""
    path = folder / os.fsdecode(name) / "1.png"
    path.parent.mkdir(parents=True)
    (folder / "ann" / "cat" / "1.png").rename(path)
    with pytest.raises(DataError, match=r"pictures: .*'caf\\udce9' is not.*: rename"):
        packed(folder)


def test_what_is_refused(folder):
    with pytest.raises(DataError, match="ann: no client/class/image here; .*: name"):
        find_raw(folder / "ann")
    with pytest.raises(DataError, match=r"raw.size 30: expected a multiple of 4.* 32"):
        packed(folder, size=30)
    broken = folder / "bob" / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"3.png: cannot be read as an image .*remove"):
        packed(folder)
    (folder / "ann" / "cat" / "1.png").unlink()
    picture(broken, GREEN)
    records = packed(folder)
    ann = pd.DataFrame({"client_id": ["ann"], "start": 0, "stop": 1})
    with pytest.raises(DataError, match=r"are of one class, 'dog'.*raw\.folder"):
        codebook(records, ann)
