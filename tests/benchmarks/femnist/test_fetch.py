"""Fetching from a server on this machine that answers as the hub does."""

import hashlib
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fedmeta.benchmarks.femnist import fetch
from fedmeta.benchmarks.femnist.fetch import CHARACTERS, REPOSITORY, fetch_femnist
from fedmeta.benchmarks.femnist.parse import femnist_shards, parse_femnist
from fedmeta.data.errors import DataError
from fedmeta.data.origin import RECORD

REVISION = "0123456789abcdef0123456789abcdef01234567"


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(28, 28)).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(writers, labels, images, names=None):
    """A file of the public data set's schema."""
    table = pa.table(
        {
            "image": [{"bytes": png(image), "path": None} for image in images],
            "writer_id": writers,
            "hsf_id": [0] * len(writers),
            "character": labels,
        }
    )
    if names:
        features = {"character": {"names": list(names), "_type": "ClassLabel"}}
        metadata = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": metadata})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


WHOLE = parquet(["f0"], [0], np.zeros((1, 784), np.uint8))
DAMAGED = WHOLE[:4] + bytes(len(WHOLE) // 2) + WHOLE[4 + len(WHOLE) // 2 :]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server of the files put into `hub.files`; its address is `hub.endpoint`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server = self.server
            prefix = f"/datasets/{REPOSITORY}/resolve/{server.revision}/"
            content, headers = None, {}
            api = f"/api/datasets/{REPOSITORY}"
            if self.path.split("?")[0] in (
                api,
                *(f"{api}/revision/{name}" for name in ("main", server.revision)),
            ):
                siblings = [{"rfilename": name} for name in server.files]
                info = {"id": REPOSITORY, "sha": server.revision, "siblings": siblings}
                content = json.dumps(info).encode()
            elif self.path.startswith(prefix):
                content = server.files.get(self.path.removeprefix(prefix))
                headers["X-Repo-Commit"] = server.revision
                headers["ETag"] = f'"{hashlib.sha256(content or b"").hexdigest()}"'
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub")
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.revision = {"README.md": b"card"}, REVISION
    server.endpoint = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_fetched_data_is_what_was_served(tmp_path, hub, monkeypatch):
    monkeypatch.setattr(fetch, "CLIENTS_A_SHARD", 2)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 784), dtype=np.uint8)
    # f2 comes again in the second file, and f1 within the first
    writers = ["f1", "f1", "f2", "f1", "f0", "f0", "f2", "f3", "f3"]
    labels = [0, 61, 10, 36, 5, 5, 9, 35, 1]
    for name, rows in {
        "data/train-0.parquet": slice(5),
        "data/train-1.parquet": slice(5, 9),
    }.items():
        content = parquet(writers[rows], labels[rows], images[rows], CHARACTERS)
        hub.files[name] = content
    folder = tmp_path / "raw"
    shards = fetch_femnist(folder, endpoint=hub.endpoint)
    assert shards == femnist_shards(folder)
    assert [path.name for path in tmp_path.glob(".*")] == []
    clients, metadata = parse_femnist(shards)
    assert metadata["source"] == "huggingface.co/datasets/flwrlabs/femnist"
    assert metadata["synthetic"] == "false"
    found = {client.client_id: client.columns for client in clients}
    assert list(found) == ["f1", "f2", "f0", "f3"]
    for writer, columns in found.items():
        rows = [row for row, name in enumerate(writers) if name == writer]
        np.testing.assert_array_equal(columns["pixels"], images[rows])
        assert columns["label"].tolist() == [labels[row] for row in rows]
    with pytest.raises(DataError, match="has JSON files already"):
        fetch_femnist(folder, endpoint=hub.endpoint)


def test_classes_in_another_order_become_leafs(tmp_path, hub):
    image = np.zeros((2, 784), np.uint8)
    content = parquet(["f0", "f0"], [0, 61], image, sorted(CHARACTERS, reverse=True))
    hub.files["train.parquet"] = content
    shards = fetch_femnist(tmp_path / "raw", endpoint=hub.endpoint)
    (client,) = parse_femnist(shards)[0]
    assert client.columns["label"].tolist() == [61, 0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no Parquet files"),
        ({"a.parquet": b"PAR1"}, "not a whole Parquet file"),
        ({"a.parquet": DAMAGED}, "not a whole Parquet file"),
        (
            {"a.parquet": parquet(["f0", None], [0, 0], np.zeros((2, 784), np.uint8))},
            "row 1 has no writer_id",
        ),
        (
            {"a.parquet": parquet(["f0"], [62], np.zeros((1, 784), np.uint8))},
            "label 62",
        ),
        (
            {"a.parquet": parquet(["f0"], [0], np.zeros((1, 784), np.uint8), "ABC")},
            "3 classes, not the 62",
        ),
    ],
)
def test_bad_files_leave_nothing(tmp_path, hub, files, message):
    hub.files.update(files)
    with pytest.raises(DataError, match=message):
        fetch_femnist(tmp_path / "raw", endpoint=hub.endpoint)
    assert {path.name for path in tmp_path.iterdir()} <= {"hub"}


def test_no_server_is_one_clear_error(tmp_path, hub):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(DataError, match="could not be fetched .* check the network"):
        fetch_femnist(tmp_path / "raw", endpoint=hub.endpoint)


def test_a_later_fetch_is_held_to_the_first(tmp_path, hub, monkeypatch):
    image = np.zeros((1, 784), np.uint8)
    hub.files["a.parquet"] = parquet(["f0"], [0], image)
    folder, url = tmp_path / "raw", f"huggingface.co/datasets/{REPOSITORY}"
    (shard,) = fetch_femnist(folder, endpoint=hub.endpoint)
    first = json.loads((folder / RECORD).read_text())[url]
    assert first["revision"] == REVISION
    shard.rename(folder / "aside")
    # the newest is another one now: the first is asked for, and is not there
    hub.revision = REVISION[::-1]
    with pytest.raises(DataError, match="could not be fetched"):
        fetch_femnist(folder, endpoint=hub.endpoint)
    # the same revision with other content
    hub.revision = REVISION
    hub.files["a.parquet"] = parquet(["f0"], [1], image)
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "other")
    )
    with pytest.raises(
        DataError, match=f"its sha256 is .*; expected {first['sha256']}"
    ):
        fetch_femnist(folder, endpoint=hub.endpoint)
    assert not shard.exists()
    # whoever wants the newest says so
    hub.revision = REVISION[::-1]
    with pytest.raises(DataError, match="its sha256 is"):
        fetch_femnist(folder, endpoint=hub.endpoint, revision="main")
    fetch_femnist(tmp_path / "new", endpoint=hub.endpoint)
    found = json.loads((tmp_path / "new" / RECORD).read_text())[url]
    assert found["revision"] == REVISION[::-1]
    fetch_femnist(folder, endpoint=hub.endpoint, **found)
    assert json.loads((folder / RECORD).read_text())[url] == found
