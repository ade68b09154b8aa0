"""Fetching from a server on this machine."""

import hashlib
import io
import json
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from fedmeta.benchmarks.sent140.fetch import GLOVE, fetch_sent140
from fedmeta.benchmarks.sent140.stanford import TEST, TRAINING
from fedmeta.data.errors import DataError
from fedmeta.data.origin import RECORD


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


TWEETS = zipped(**{TRAINING: b"t" * 100_000, TEST: b"m" * 10, "readme": b"no"})
VECTORS = zipped(**{GLOVE: b"v" * 1000, "glove.6B.50d.txt": b"no"})


@pytest.fixture
def web():
    """A server of `web.files`; `web.cut` bytes are sent before the line goes dead."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.server.files.get(self.path)
            self.server.ranges.append(self.headers.get("Range"))
            if content is None:
                self.send_error(404)
                return
            start = 0
            if self.headers.get("Range") and self.server.resumes:
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: self.server.cut])

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files = {"/tweets.zip": TWEETS, "/vectors.zip": VECTORS}
    server.ranges, server.cut, server.resumes = [], None, True
    server.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != RECORD}


def test_only_the_files_needed_stay(tmp_path, web):
    paths = fetch_sent140(tmp_path, f"{web.url}/tweets.zip", f"{web.url}/vectors.zip")
    assert [path.name for path in paths] == [TRAINING, TEST, GLOVE]
    assert contents(tmp_path) == {
        TRAINING: b"t" * 100_000,
        TEST: b"m" * 10,
        GLOVE: b"v" * 1000,
    }
    # what is there is not fetched again
    assert len(web.ranges) == 2
    assert fetch_sent140(tmp_path, f"{web.url}/tweets.zip") == paths[:2]
    assert len(web.ranges) == 2


@pytest.mark.parametrize("resumes", [True, False])
def test_a_dead_line_is_taken_up_again(tmp_path, web, resumes):
    web.cut, web.resumes = 100, resumes
    with pytest.raises(DataError, match=r"ended \d+ bytes early.*resumes where it"):
        fetch_sent140(tmp_path, f"{web.url}/tweets.zip")
    assert [path.name for path in tmp_path.glob("*")] == [".tweets.zip.partial"]
    web.cut = None
    fetch_sent140(tmp_path, f"{web.url}/tweets.zip")
    assert web.ranges == [None, "bytes=100-"]
    assert contents(tmp_path) == {TRAINING: b"t" * 100_000, TEST: b"m" * 10}


def test_a_download_that_was_whole_is_unpacked(tmp_path, web):
    (tmp_path / ".tweets.zip.partial").write_bytes(TWEETS)
    fetch_sent140(tmp_path, f"{web.url}/tweets.zip")
    assert contents(tmp_path) == {TRAINING: b"t" * 100_000, TEST: b"m" * 10}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "could not be fetched .*404"),
        (b"<html>moved</html>", "not a whole ZIP with training"),
        (zipped(readme=b"no"), f"not a whole ZIP with .*{TRAINING}"),
        # the head of the second member, and the data of the first
        (TWEETS.replace(TWEETS[200:220], b"x" * 20), "not a whole ZIP with"),
        (TWEETS.replace(TWEETS[80:100], b"x" * 20), "not a whole ZIP with"),
    ],
)
def test_bad_answers_leave_nothing(tmp_path, web, content, message):
    web.files["/tweets.zip"] = content
    with pytest.raises(DataError, match=message) as caught:
        fetch_sent140(tmp_path, f"{web.url}/tweets.zip")
    assert str(caught.value).startswith(web.url)
    assert contents(tmp_path) == {}


def test_no_server_is_one_clear_error(tmp_path, web):
    web.shutdown()
    web.server_close()
    with pytest.raises(DataError, match="could not be fetched .* check the network"):
        fetch_sent140(tmp_path, f"{web.url}/tweets.zip")


CHANGED = zipped(**{TRAINING: b"T" * 100_000, TEST: b"m" * 10})


def test_a_later_fetch_is_held_to_the_first(tmp_path, web):
    url, sums = f"{web.url}/tweets.zip", {}
    for content in (TWEETS, CHANGED):
        sums[content] = hashlib.sha256(content).hexdigest()
    fetch_sent140(tmp_path, url)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record == {url: {"sha256": sums[TWEETS]}}
    before = contents(tmp_path)
    (tmp_path / TEST).rename(tmp_path / "aside")
    web.files["/tweets.zip"] = CHANGED
    with pytest.raises(DataError, match=f"its sha256 is {sums[CHANGED]}; expected"):
        fetch_sent140(tmp_path, url)
    # nothing has been replaced, and nothing of the other file is left
    assert contents(tmp_path).keys() == {TRAINING, "aside"}
    assert contents(tmp_path)[TRAINING] == before[TRAINING]
    # the two remedies
    fetch_sent140(tmp_path.with_name("other"), url)
    fetch_sent140(tmp_path, url, sha256=sums[CHANGED].upper())
    assert contents(tmp_path)[TRAINING] == b"T" * 100_000
    assert json.loads((tmp_path / RECORD).read_text())[url]["sha256"] == sums[CHANGED]


def test_a_checksum_that_is_given_counts_at_once(tmp_path, web):
    with pytest.raises(DataError, match=r"expected 1234, as given: .*--sha256"):
        fetch_sent140(tmp_path, f"{web.url}/tweets.zip", sha256="1234")
    assert contents(tmp_path) == {}


def test_a_full_disk_keeps_what_was_downloaded(tmp_path, web, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("fedmeta.benchmarks.sent140.fetch._extract", full)
    with pytest.raises(OSError, match="No space"):
        fetch_sent140(tmp_path, f"{web.url}/tweets.zip")
    assert contents(tmp_path) == {".tweets.zip.partial": TWEETS}
