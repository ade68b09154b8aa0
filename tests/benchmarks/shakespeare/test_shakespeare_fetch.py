"""Fetching from a server on this machine that has Gutenberg's paths."""

import hashlib
import io
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from fedmeta.benchmarks.shakespeare import fetch
from fedmeta.benchmarks.shakespeare.fetch import (
    EDITIONS,
    fetch_shakespeare,
    is_leafs_text,
)
from fedmeta.benchmarks.shakespeare.synthetic import write_sample
from fedmeta.data.errors import DataError
from fedmeta.data.origin import RECORD

CURRENT = (
    "*** START OF THE PROJECT GUTENBERG EBOOK A PLAY ***\n"
    "*** END OF THE PROJECT GUTENBERG EBOOK A PLAY ***\n"
)


def archive(**texts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in texts.items():
            file.writestr(f"{name}.txt", content)
    return buffer.getvalue()


@pytest.fixture
def plays(tmp_path):
    return write_sample(tmp_path / "plays", 1, 2, (1, 1))[0].read_bytes()


@pytest.fixture
def server():
    """A server of `server.files`, path -> content; its address is `server.base`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.files.get(self.path.lstrip("/"))
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"") + server.more))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.more = {}, 0  # bytes that are promised and not sent
    server.base = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_archive_of_1994_becomes_a_text(tmp_path, server, plays, monkeypatch):
    server.files[EDITIONS["1994"].path] = archive(a=plays)
    monkeypatch.setenv("GUTENBERG_URL", server.base + "/")
    (path,) = fetch_shakespeare(tmp_path / "raw")
    assert path.read_bytes() == plays
    assert [p for p in path.parent.iterdir() if p.name != RECORD] == [path]
    assert not is_leafs_text(path)
    with pytest.raises(DataError, match=r"has shakespeare_1994\.txt already; move it"):
        fetch_shakespeare(tmp_path / "raw")


def test_the_current_text_comes_as_it_is(tmp_path, server):
    server.files[EDITIONS["current"].path] = CURRENT.encode()
    (path,) = fetch_shakespeare(tmp_path / "raw", "current", server.base)
    assert path.read_text() == CURRENT


def test_leafs_text_is_known_by_its_md5(tmp_path, plays, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(plays.replace(b"\n", b"\r\n"))
    assert not is_leafs_text(path)
    monkeypatch.setattr(fetch, "LEAF_MD5", hashlib.md5(plays).hexdigest())
    assert is_leafs_text(path)


@pytest.mark.parametrize(
    ("edition", "content", "message"),
    [
        ("1994", None, "could not be fetched .*404.* check the network"),
        ("1994", b"no archive", "not a whole archive of one text .* fetch it again"),
        ("1994", archive(), "0 texts in it"),
        ("1994", archive(a=b"a", b=b"b"), "2 texts in it"),
        ("1994", archive(a=CURRENT), "not in the layout of 1994"),
        ("1994", archive(a=b"no play"), "neither the text of 1994"),
        ("current", CURRENT[:70].encode(), "cut short: it lacks"),
        ("1993", None, "unknown edition '1993'; one of 1994, current"),
    ],
)
def test_what_is_not_the_text_leaves_nothing(
    tmp_path, server, edition, content, message
):
    if content is not None:
        server.files[EDITIONS[edition].path] = content
    with pytest.raises(DataError, match=message):
        fetch_shakespeare(tmp_path / "raw", edition, server.base)
    assert not list(tmp_path.glob("raw/*"))


def test_an_answer_cut_short_leaves_nothing(tmp_path, server):
    server.files[EDITIONS["current"].path] = CURRENT.encode()
    server.more = 100
    with pytest.raises(DataError, match="could not be fetched"):
        fetch_shakespeare(tmp_path / "raw", "current", server.base)
    assert not list(tmp_path.glob("raw/*"))


def test_no_server_is_one_clear_error(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="could not be fetched .* by hand"):
        fetch_shakespeare(tmp_path / "raw", server=server.base)


def test_a_later_fetch_is_held_to_the_first(tmp_path, server, plays):
    folder, name = tmp_path / "raw", EDITIONS["1994"].path
    server.files[name] = archive(a=plays)
    (path,) = fetch_shakespeare(folder, server=server.base)
    path.rename(folder / "aside")
    server.files[name] = archive(a=plays + b"\n")
    with pytest.raises(DataError, match=r"its sha256 is .*; expected .*fetched\.json"):
        fetch_shakespeare(folder, server=server.base)
    assert not path.exists()
    server.files[name] = archive(a=plays)
    assert fetch_shakespeare(folder, server=server.base) == [path]
